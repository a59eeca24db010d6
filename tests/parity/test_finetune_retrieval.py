"""Whole retrieval runs of 50 steps, compared with the same training in PyTorch with sentence-transformers' losses."""
import json

import pytest
from conftest import program, run

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
st = pytest.importorskip("sentence_transformers")
from sentence_transformers.sentence_transformer import losses, modules  # noqa: E402

STEPS, BATCH, SAMPLES, LENGTH = 50, 8, 40, 16
WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "re", "si", "to", "va") for b in ("ba", "de", "fi", "go", "hu")]
LR = 2e-4  # at 1e-3 the rounding of two float32 programs grows beyond the tolerance within 50 steps


def words(seed, count):
    picks = torch.randint(len(WORDS), (count,), generator=torch.Generator().manual_seed(seed))
    return " ".join(WORDS[i] for i in picks)


def sample(i, kind):
    """Query and passages of 4 to 12 words; pairs with labels; or a teacher's scores."""
    query, positive, negatives = words(i, 4 + i % 3), words(1000 + i, 6 + i % 7), [words(2000 + i, 5 + i % 6), words(3000 + i, 8)]
    if kind == "pairs":
        return {"query": query, "positive": positive}
    if kind == "labels":
        return {"query": query, "positive": positive if i % 2 else negatives[0], "label": i % 2}
    if kind == "similarities":
        return {"query": query, "positive": positive, "label": (i % 5) / 4}
    record = {"query": query, "positive": positive, "negatives": negatives[:1] if kind == "triplets" else negatives}
    if kind == "scores":
        record["scores"] = [2 + i % 3, (i % 4) / 2, 0.5]
    return record


def tiny_bert(folder):
    torch.manual_seed(1)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = transformers.BertConfig(vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                     intermediate_size=64, max_position_embeddings=LENGTH, hidden_dropout_prob=0,
                                     attention_probs_dropout_prob=0, initializer_range=0.3)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True, model_max_length=LENGTH).save_pretrained(folder)
    return folder


def torch_losses(folder, samples, loss_of, lr=LR):
    """The losses of STEPS steps on batches in the data's order, with AdamW and clipping at norm 1, as the recipe below."""
    transformer = modules.Transformer(str(folder), max_seq_length=LENGTH)
    model = st.SentenceTransformer(modules=[transformer, modules.Pooling(transformer.get_word_embedding_dimension(), "mean")], device="cpu")
    model.train()
    loss = loss_of(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    found = []
    for step in range(STEPS):
        batch = [samples[(step * BATCH + i) % len(samples)] for i in range(BATCH)]
        columns = [[s["query"] for s in batch], [s["positive"] for s in batch]]
        columns += [[s["negatives"][k] for s in batch] for k in range(len(batch[0].get("negatives", [])))]
        label = batch[0].get("label", batch[0].get("scores"))
        labels = None if label is None else torch.tensor([s.get("label", s.get("scores")) for s in batch])
        value = loss([model.preprocess(c) for c in columns], labels)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(value.item())
    return found


def recipe_of(tmp_path, folder, samples, loss, more=()):
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    tree = {"run_name": "parity", "base_model": str(folder), "precision": "fp32", "task": {"loss": loss},
            "train_loader": {"data": str(tmp_path / "data.jsonl"), "shuffle": False, "no_duplicates": False},
            "global_train_batch_size": BATCH, "device_train_microbatch_size": BATCH, "max_duration": f"{STEPS}ba",
            "optimizer": {"name": "adamw", "lr": LR, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
            "scheduler": {"name": "constant_with_warmup", "t_warmup": "0ba"},
            "save_folder": str(tmp_path / "run"), "save_interval": "50ba", "progress_bar": False}
    (tmp_path / "recipe.yaml").write_text(json.dumps(tree))
    run(program("m2bert"), "finetune", "retrieval", tmp_path / "recipe.yaml", *more, "--quiet")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line["loss/train/total"] for line in lines if "loss/train/total" in line]


def compare(tmp_path, kind, loss, loss_of, more=()):
    folder = tiny_bert(tmp_path / "bert")
    samples = [sample(i, kind) for i in range(SAMPLES)]
    ours = recipe_of(tmp_path, folder, samples, loss, more)
    theirs = torch_losses(folder, samples, loss_of)
    assert len(ours) == STEPS
    assert theirs[-1] < theirs[0]
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)


RUNS = {
    "multiple_negatives_ranking": ("pairs", "multiple_negatives_ranking_loss", losses.MultipleNegativesRankingLoss),
    "hard_negatives": ("negatives", "multiple_negatives_ranking_loss", losses.MultipleNegativesRankingLoss),
    "symmetric": ("pairs", {"name": "multiple_negatives_ranking_loss", "symmetric": True}, losses.MultipleNegativesSymmetricRankingLoss),
    "contrastive": ("labels", "contrastive_loss", losses.ContrastiveLoss),
    "online_contrastive": ("labels", "online_contrastive_loss", losses.OnlineContrastiveLoss),
    "triplet_cosine": ("triplets", "triplet_loss", lambda model: losses.TripletLoss(
        model, distance_metric=losses.TripletDistanceMetric.COSINE, triplet_margin=0.5)),
    "triplet_euclidean": ("triplets", {"name": "triplet_loss", "distance": "euclidean", "margin": 5}, losses.TripletLoss),
    "cosine_similarity": ("similarities", "cosine_similarity_loss", losses.CosineSimilarityLoss),
    "mega_batch_margin": ("pairs", "mega_batch_margin_loss", lambda model: losses.MegaBatchMarginLoss(model, use_mini_batched_version=False)),
    "margin_mse": ("scores", "margin_mse_loss", losses.MarginMSELoss),
    "kl_distillation": ("scores", "kl_distillation_loss", losses.DistillKLDivLoss),
    "matryoshka": ("pairs", {"name": "multiple_negatives_ranking_loss", "matryoshka_dimensions": [32, 16, 8]},
                   lambda model: losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), [32, 16, 8])),
}


class OrthogonalProjection(torch.nn.Module):
    """(1 - mean cosine of positives) + |mean cosine of negatives|: sentence-transformers has none."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features, labels):
        a, b = (self.model(f)["sentence_embedding"] for f in features)
        cosine = torch.nn.functional.cosine_similarity(a, b)
        return 1 - cosine[labels == 1].mean() + cosine[labels == 0].mean().abs()


RUNS["orthogonal_projection"] = ("labels", "orthogonal_projection_loss", OrthogonalProjection)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_equals_torch(tmp_path, name):
    compare(tmp_path, *RUNS[name])


@pytest.mark.parametrize("rows", [1, 3])
def test_a_cached_run_equals_the_plain_one(tmp_path, rows):
    """Microbatches of one and of three samples: the negatives are still those of the whole batch."""
    compare(tmp_path, *RUNS["hard_negatives"], more=[f"device_train_microbatch_size={rows}"])


def test_sentence_transformers_reads_the_model(tmp_path):
    folder = tiny_bert(tmp_path / "bert")
    samples = [sample(i, "pairs") for i in range(SAMPLES)]
    recipe_of(tmp_path, folder, samples, "multiple_negatives_ranking_loss", ["task.prompts.query='ka: '", "max_duration=5ba"])
    model = st.SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu")
    assert model.prompts["query"] == "ka: "
    assert model.max_seq_length == LENGTH
    (tmp_path / "texts.txt").write_text("\n".join(s["query"] for s in samples) + "\n")
    run(program("m2bert"), "embed", "--model", tmp_path / "run" / "model", tmp_path / "texts.txt", "--prompt", "query", "--output",
        tmp_path / "ours.npy")
    import numpy as np
    ours, theirs = np.load(tmp_path / "ours.npy"), model.encode([s["query"] for s in samples], prompt_name="query")
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
