-- Flink SQL: a topic into a table of MySQL, dates translated. flink.py fills in what has a dollar sign.
-- At least once: after a failure what came since the last checkpoint is appended again.
SET 'table.dml-sync' = 'true';
SET 'table.local-time-zone' = 'UTC';
SET 'parallelism.default' = '$parallelism';
SET 'execution.checkpointing.interval' = '10s';
SET 'execution.checkpointing.dir' = 'file://$folder/checkpoints';

CREATE TEMPORARY TABLE messages (
    `type` STRING, `id` STRING, `title` STRING, `content` STRING, `source` ROW<`name` STRING, `url` STRING>, `language` STRING,
    `tags` ARRAY<STRING>, `score` INT, `isOriginal` BOOLEAN, `publishTime` STRING, `crawlTime` STRING
) WITH (
    'connector' = 'kafka', 'topic' = '$topic', 'properties.bootstrap.servers' = '$bootstrap', 'properties.group.id' = '$group',
    'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
);

CREATE TEMPORARY TABLE news (
    `id` STRING, `title` STRING, `content` STRING, `source` STRING, `url` STRING, `language` STRING, `tags` STRING, `score` INT,
    `is_original` BOOLEAN, `publish_time` TIMESTAMP(6), `crawl_time` TIMESTAMP(6)
) WITH (
    'connector' = 'jdbc', 'url' = '$jdbc_url', 'table-name' = '$table', 'username' = '$user', 'password' = '$password',
    'sink.buffer-flush.max-rows' = '$batch_size', 'sink.buffer-flush.interval' = '1s'
);

-- Texts without a zone are Shanghai's, eight hours ahead of UTC all year.
INSERT INTO news
SELECT
    `id`, `title`, `content`, `source`.`name`, `source`.`url`, `language`, JSON_STRING(`tags`), `score`, `isOriginal`,
    CASE
        WHEN `publishTime` LIKE '%Z' THEN TO_TIMESTAMP(`publishTime`, 'yyyy-MM-dd''T''HH:mm:ss''Z''')
        WHEN `publishTime` LIKE '%/%' THEN TO_TIMESTAMP(`publishTime`, 'yyyy/MM/dd HH:mm') - INTERVAL '8' HOUR
        ELSE TO_TIMESTAMP(`publishTime`, 'yyyy-MM-dd HH:mm:ss') - INTERVAL '8' HOUR
    END,
    TO_TIMESTAMP(`crawlTime`, 'yyyy-MM-dd''T''HH:mm:ss''Z''')
FROM messages
WHERE `type` = 'information';
