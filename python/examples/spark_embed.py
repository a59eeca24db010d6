"""Embeds the texts of Parquet or JSON lines files with PySpark. Each Python worker holds one m2bert.Embedder.

    pip install m2bert pyspark pandas pyarrow
    spark-submit spark_embed.py MODEL INPUT OUTPUT --threads 4

INPUT is a file or a folder, .parquet or .jsonl, which every node reads at the same path. OUTPUT is a folder of Parquet files with the columns
of the input and `embedding`. If a worker or an executor dies, Spark runs its task again.
"""
from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

if TYPE_CHECKING:
    import m2bert


@functools.cache
def embedder(options: str) -> m2bert.Embedder:
    """The Embedder of this worker, which Spark keeps for the next tasks. options: its arguments as JSON."""
    import m2bert  # in the workers alone: they must not be forked from a process that has computed

    return m2bert.Embedder(**json.loads(options))


def embed(frame: DataFrame, options: dict[str, object], field: str = "text") -> DataFrame:
    """The frame with the column `embedding`, lists of floats.

    Args:
        frame: Rows with a column of texts.
        options: The arguments of m2bert.Embedder. Give `threads` as many as spark.task.cpus.
        field: The column of the texts.
    """
    arguments = json.dumps(options)

    def embed_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:  # of spark.sql.execution.arrow.maxRecordsPerBatch rows
            yield batch.assign(embedding=list(embedder(arguments).embed(batch[field])))

    schema = StructType([*frame.schema.fields, StructField("embedding", ArrayType(FloatType(), containsNull=False))])
    return frame.mapInPandas(embed_batches, schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--config", help="the recipe of an M2-BERT checkpoint")
    parser.add_argument("--field", default="text", help="column or key of the texts (default: text)")
    parser.add_argument("--dtype", help="of the weights, such as bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="cores of a task (default: 1)")
    parser.add_argument("--partitions", type=int, help="how many tasks there are (default: as the input is divided)")
    arguments = parser.parse_args()
    spark = SparkSession.builder.appName("m2bert").config("spark.task.cpus", arguments.threads).getOrCreate()
    spark.sparkContext.addPyFile(__file__)
    is_parquet = arguments.input.rstrip("/").endswith("parquet")
    frame = spark.read.parquet(arguments.input) if is_parquet else spark.read.json(arguments.input)
    if arguments.partitions:
        frame = frame.repartition(arguments.partitions)
    options = {"model": arguments.model, "config": arguments.config, "dtype": arguments.dtype, "threads": arguments.threads}
    embed(frame, options, arguments.field).write.parquet(arguments.output)
    spark.stop()


if __name__ == "__main__":
    import spark_embed  # the functions of __main__ would be sent to each task by value, and lose their cache

    spark_embed.main()
