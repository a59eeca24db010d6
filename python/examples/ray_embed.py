"""Embeds the texts of Parquet or JSON lines files with Ray Data. Each actor holds one m2bert.Embedder.

    pip install m2bert 'ray[data]'
    python ray_embed.py MODEL INPUT OUTPUT --actors 8 --threads 4

INPUT is a file or a folder, .parquet or .jsonl, which every node reads at the same path (or s3://...). OUTPUT is a folder of Parquet files
with the columns of the input and `embedding`. If an actor or a node dies, Ray starts another actor and computes its batches again.
"""
from __future__ import annotations

import argparse
from typing import Any

import pyarrow as pa
import ray


class Embed:
    """An actor: adds the column `embedding`, float32 lists of the model's dimension, to batches of rows."""

    def __init__(self, field: str, options: dict[str, Any]) -> None:
        import m2bert  # here, so that the driver needs no model and no memory for it

        self.field = field
        self.embedder = m2bert.Embedder(**options)

    def __call__(self, rows: pa.Table) -> pa.Table:
        vectors = self.embedder.embed(rows[self.field])
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return rows.append_column("embedding", column)


def embed(dataset: ray.data.Dataset, options: dict[str, Any], *, field: str = "text", actors: int = 1, gpus: float = 0,
          batch_size: int = 1024) -> ray.data.Dataset:
    """The dataset with the column `embedding`.

    Args:
        dataset: Rows with a column of texts.
        options: The arguments of m2bert.Embedder. `threads` is also the number of cores that Ray reserves for an actor.
        field: The column of the texts.
        actors: How many Embedders there are.
        gpus: Reserved for each of them.
        batch_size: Rows given to an actor at once: several batches of the Embedder, so that texts of similar length meet.
    """
    return dataset.map_batches(Embed, fn_constructor_args=(field, options), batch_format="pyarrow", batch_size=batch_size,
                               num_cpus=options.get("threads", 1), num_gpus=gpus or None, compute=ray.data.ActorPoolStrategy(size=actors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--config", help="the recipe of an M2-BERT checkpoint")
    parser.add_argument("--field", default="text", help="column or key of the texts (default: text)")
    parser.add_argument("--dtype", help="of the weights, such as bfloat16")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="cores of an actor (default: 1)")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of an actor (default: 0)")
    parser.add_argument("--cpus", type=int, help="cores of the cluster that is started if there is none (default: those of this machine)")
    parser.add_argument("--batch-size", type=int, default=1024, help="rows given to an actor at once")
    arguments = parser.parse_args()
    ray.init(num_cpus=arguments.cpus)
    cores = int(ray.cluster_resources().get("CPU", 0))
    if arguments.actors * arguments.threads >= cores:  # the tasks that read would wait for ever
        parser.error(f"{arguments.actors} actors of {arguments.threads} cores leave none of the {cores} cores of the cluster for reading")
    read = ray.data.read_parquet if arguments.input.rstrip("/").endswith("parquet") else ray.data.read_json
    options = {"model": arguments.model, "config": arguments.config, "dtype": arguments.dtype, "threads": arguments.threads,
               "device": "gpu" if arguments.gpus else "cpu"}
    embedded = embed(read(arguments.input), options, field=arguments.field, actors=arguments.actors, gpus=arguments.gpus,
                     batch_size=arguments.batch_size)
    embedded.write_parquet(arguments.output)


if __name__ == "__main__":
    main()
