"""Messages of Debezium, Maxwell, Canal and others, as their documentation has them, and what becomes of them."""
