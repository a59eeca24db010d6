"""Fine-tunes a BERT folder as a classifier with PyTorch and transformers: the peer of bench/finetuning.py.

    python bench/peers/torch_finetuning.py < SETTINGS.json

SETTINGS has the files and the hyper-parameters. Prints one JSON object: accuracy and macro F1 on the test texts, the loss of every step,
seconds. The training is that of `m2bert finetune classify`: AdamW with one group, the learning rate rises linearly over the warm-up and falls
linearly to 0, the norm of the gradient is clipped. It starts from the folder's head, and goes through the training texts once, in their order."""
import csv
import json
import sys
import time

import torch
import transformers
from sklearn.metrics import accuracy_score, f1_score


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def encode(tokenizer, texts, tokens):
    return [torch.tensor(ids) for ids in tokenizer(texts, truncation=True, max_length=tokens)["input_ids"]]


def padded(rows):
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()}


def schedule(step, steps, warmup):
    """The factor of the learning rate; the first step has 0 if there is a warm-up."""
    return step / warmup if step < warmup else (steps - step) / (steps - warmup)


def train(model, rows, labels, s):
    steps = -(-len(rows) // s["batch"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=s["lr"], weight_decay=s["weight_decay"])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps, s["warmup_steps"]))
    model.train()
    losses = []
    for begin in range(0, len(rows), s["batch"]):
        loss = model(**padded(rows[begin:begin + s["batch"]]), labels=labels[begin:begin + s["batch"]]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), s["clip"])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def predict(model, rows):
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = [0] * len(rows)
    for begin in range(0, len(order), 32):
        chosen = order[begin:begin + 32]
        for i, label in zip(chosen, model(**padded([rows[i] for i in chosen])).logits.argmax(-1).tolist(), strict=True):
            found[i] = label
    return found


def main():
    s = json.load(sys.stdin)
    torch.set_num_threads(s["threads"])
    torch.manual_seed(s["seed"])
    begin = time.monotonic()
    tokenizer = transformers.AutoTokenizer.from_pretrained(s["model"])
    train_texts, train_names = read(s["train"])
    test_texts, test_names = read(s["test"])
    model = transformers.BertForSequenceClassification.from_pretrained(s["model"], problem_type="single_label_classification")
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    losses = train(model, encode(tokenizer, train_texts, s["tokens"]), torch.tensor([names.index(name) for name in train_names]), s)
    trained = time.monotonic()
    found = predict(model, encode(tokenizer, test_texts, s["tokens"]))
    expected = [names.index(name) for name in test_names]
    print(json.dumps({"accuracy": accuracy_score(expected, found), "macro_f1": f1_score(expected, found, average="macro"), "losses": losses,
                      "train_seconds": trained - begin, "test_seconds": time.monotonic() - trained,
                      "versions": f"PyTorch {torch.__version__}, transformers {transformers.__version__}"}))


if __name__ == "__main__":
    main()
