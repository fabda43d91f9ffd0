"""Structured Streaming from a topic into MySQL: `from_json` with a schema, dates translated, `foreachBatch` by JDBC.

Runs in a venv of its own, without kafka_ingest. At least once: a micro-batch that is repeated appends its rows again.
"""

from __future__ import annotations

import os

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  as Spark's own documentation has it

SCHEMA = """
    type STRING, id STRING, title STRING, content STRING, source STRUCT<name: STRING, url: STRING>, language STRING,
    tags ARRAY<STRING>, score INT, isOriginal BOOLEAN, publishTime STRING, crawlTime STRING
"""
WITH_ZONE = ("yyyy-MM-dd'T'HH:mm:ss[.SSSSSS]XXX", "yyyy-MM-dd HH:mm:ssXXX")
WITHOUT = ("yyyy-MM-dd HH:mm:ss", "yyyy/MM/dd HH:mm", "yyyy/MM/dd HH:mm:ss", "yyyy-MM-dd'T'HH:mm:ss", "yyyyMMddHHmmss")
FOLDER = os.environ["PEER_FOLDER"]


def instant(text: Column, zone: str) -> Column:
    """In UTC, the session's zone: texts with a zone keep it, the others are in `zone`."""
    zoned = [F.try_to_timestamp(text, F.lit(form)) for form in WITH_ZONE]
    local = [F.to_utc_timestamp(F.try_to_timestamp(text, F.lit(form)), zone) for form in WITHOUT]
    return F.coalesce(*zoned, *local)


def rows(messages: DataFrame) -> DataFrame:
    """The table's columns."""
    news = (
        messages.select(F.from_json(F.col("value").cast("string"), SCHEMA).alias("message"))
        .select("message.*")
        .where(F.col("type") == "information")
    )
    return news.select(
        "id",
        "title",
        "content",
        F.col("source.name").alias("source"),
        F.col("source.url").alias("url"),
        "language",
        F.to_json("tags").alias("tags"),
        "score",
        F.col("isOriginal").alias("is_original"),
        instant(F.col("publishTime"), "Asia/Shanghai").alias("publish_time"),
        instant(F.col("crawlTime"), "UTC").alias("crawl_time"),
    )


def append(batch: DataFrame, _batch_id: int) -> None:
    (
        batch.write.format("jdbc")
        .mode("append")
        .option("driver", "com.mysql.cj.jdbc.Driver")
        .option("url", os.environ["PEER_JDBC_URL"])
        .option("user", os.environ["PEER_USER"])
        .option("password", os.environ["PEER_PASSWORD"])
        .option("dbtable", os.environ["PEER_TABLE"])
        .option("batchsize", os.environ["PEER_BATCH_SIZE"])
        .save()
    )


def main() -> None:
    session = (
        SparkSession.builder.master("local[*]")
        .appName("peer")
        .config("spark.jars", os.environ["PEER_JARS"])
        .config("spark.driver.memory", "2g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        # DATETIME has no zone: the driver writes instants in the JVM's.
        .config("spark.driver.extraJavaOptions", f"-Duser.timezone=UTC -Djava.io.tmpdir={FOLDER}")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.local.dir", FOLDER)
        .config("spark.sql.warehouse.dir", f"{FOLDER}/warehouse")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("WARN")
    messages = (
        session.readStream.format("kafka")
        .option("kafka.bootstrap.servers", os.environ["PEER_BOOTSTRAP"])
        .option("subscribe", os.environ["PEER_TOPIC"])
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", os.environ["PEER_OFFSETS_PER_TRIGGER"])
        .load()
    )
    query = rows(messages).writeStream.foreachBatch(append).option("checkpointLocation", f"{FOLDER}/checkpoint").start()
    query.awaitTermination()


if __name__ == "__main__":
    main()
