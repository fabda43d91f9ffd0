"""PostgreSQL as a target database: COPY into staging tables, and upserts by business key."""
