"""A small training run: labelled texts for the classifier of the fixtures."""
import m2bert


def recipe_of(models, folder, **more):
    """A recipe of two batches an epoch, whose run is folder/run."""
    texts = [("a lovely film", "positive"), ("a dull film", "negative"), ("what a joy", "positive"), ("a waste of time", "negative")] * 2
    data = folder / "train.csv"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in texts))
    config = m2bert.read_config(models / "sentiment")
    loader = {"name": "labelled", "file": data, "kind": "single", "labels": ["negative", "positive"], "tokenizer_name": "bert-base-uncased"}
    return {
        "run_name": "sentiment", "seed": 3, "precision": "fp32", "max_seq_len": 128, "task": {"name": "classification"},
        "model": {"name": "bert", "tokenizer_name": "bert-base-uncased",
                  "model_config": {**config, "problem_type": "single_label_classification"}},
        "load_path": models / "sentiment", "load_weights_only": True,
        "train_loader": {**loader, "shuffle": True}, "eval_loader": loader,
        "global_train_batch_size": 4, "device_train_microbatch_size": 4, "device_eval_batch_size": 4,
        "max_duration": "1ep", "eval_interval": "1ep",
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0},
        "scheduler": {"name": "constant_with_warmup", "t_warmup": "0ba"},
        "save_folder": folder / "run", "save_interval": "1ep", **more,
    }
