"""Values and gradients of retrieval losses, compared with sentence-transformers' own loss classes in float64 on the same embeddings."""
import json

import pytest
from conftest import program, run

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
from safetensors.torch import load_file, save_file  # noqa: E402
from sentence_transformers.sentence_transformer import losses  # noqa: E402

N, D = 7, 24
ALLOWED = 1e-6


class Columns:
    """Takes the place of a model, and of a guide: the losses ask it for the embeddings of their columns, one after another."""

    def __init__(self, columns):
        self.columns = columns

    def forward(self, features):
        return {"sentence_embedding": self.columns[features["column"]]}

    def __call__(self, features):  # MatryoshkaLoss replaces forward
        return self.forward(features)

    def get_embedding_dimension(self):
        return self.columns[0].shape[1]


def features(count):
    return [{"column": i} for i in range(count)]


def random_columns(count, seed=0, spread=1.0):
    """Rows of a sample resemble one another, so that some pairs are close."""
    generator = torch.Generator().manual_seed(seed)
    topic = torch.randn(N, D, generator=generator)
    return [topic * 0.7 + spread * torch.randn(N, D, generator=generator) for _ in range(count)]


def ours(tmp_path, loss, columns, **inputs):
    (tmp_path / "config.yaml").write_text(json.dumps({"loss": loss}))
    tensors = {f"column.{i}": c for i, c in enumerate(columns)}
    for name, value in inputs.items():
        if isinstance(value, list):
            tensors.update({f"{name}.{i}": c for i, c in enumerate(value)})
        else:
            tensors[name] = value
    save_file({k: v.float().contiguous() for k, v in tensors.items()}, tmp_path / "inputs.safetensors")
    run(program("m2bert-parity-retrieval-loss"), tmp_path)
    found = load_file(tmp_path / "ours.safetensors")
    return found["loss"].double()[0], [found[f"grad.{i}"].double() for i in range(len(columns))]


def compare(tmp_path, loss, columns, theirs, **inputs):
    """theirs: from columns in float64 to the loss."""
    leaves = [c.double().requires_grad_() for c in columns]
    value = theirs(leaves)
    value.backward()
    our_value, our_grads = ours(tmp_path, loss, columns, **inputs)
    assert our_value.item() == pytest.approx(value.item(), rel=ALLOWED)
    assert value.item() > 0
    largest = max(leaf.grad.abs().max() for leaf in leaves)
    assert largest > 0
    for leaf, grad in zip(leaves, our_grads):
        assert (leaf.grad - grad).abs().max() <= ALLOWED * largest


def call(loss_class, columns, labels=None, wrap=None, **options):
    loss = loss_class(Columns(columns), **options)
    if wrap:
        loss = wrap(loss.model, loss)
    return loss(features(len(columns)), labels)


@pytest.mark.parametrize("negatives", [0, 1, 3])
@pytest.mark.parametrize("scale", [20, 5])
def test_multiple_negatives_ranking(tmp_path, negatives, scale):
    compare(tmp_path, {"name": "multiple_negatives_ranking_loss", "scale": scale}, random_columns(2 + negatives),
            lambda c: call(losses.MultipleNegativesRankingLoss, c, scale=scale))


@pytest.mark.parametrize("negatives", [0, 2])
def test_symmetric_ranking(tmp_path, negatives):
    compare(tmp_path, {"name": "multiple_negatives_ranking_loss", "symmetric": True}, random_columns(2 + negatives),
            lambda c: call(losses.MultipleNegativesSymmetricRankingLoss, c))


def test_a_memory_bank_is_one_more_column_of_negatives(tmp_path):
    extra = random_columns(1, seed=5)[0]
    compare(tmp_path, "multiple_negatives_ranking_loss", random_columns(2),
            lambda c: call(losses.MultipleNegativesRankingLoss, [*c, extra.double()]), extra=extra)


@pytest.mark.parametrize("margin", [0, 0.1, -0.05])
@pytest.mark.parametrize("kind", ["absolute", "relative"])
@pytest.mark.parametrize("negatives", [0, 1])
def test_guide(tmp_path, margin, kind, negatives, monkeypatch):
    columns, guide = random_columns(2 + negatives), random_columns(2 + negatives, seed=1, spread=0.8)

    def theirs(c):
        loss = losses.GISTEmbedLoss.__new__(losses.GISTEmbedLoss)
        torch.nn.Module.__init__(loss)
        loss.model, loss.guide = Columns(c), Columns([g.double() for g in guide])
        loss.temperature, loss.margin_strategy, loss.margin = 0.05, kind, margin
        loss.similarity_fct, loss.cross_entropy_loss = torch.nn.CosineSimilarity(dim=-1), torch.nn.CrossEntropyLoss()
        loss.contrast_anchors = loss.contrast_positives = True
        loss.gather_across_devices = loss.must_retokenize = False
        return loss(features(len(c)), None)

    name = {"name": "multiple_negatives_ranking_loss", "query_to_query": True, "passage_to_passage": True,
            "false_negatives": {"margin": margin, "kind": kind}}
    compare(tmp_path, name, columns, theirs, guide=guide)


@pytest.mark.parametrize("margin", [0, -0.1])
def test_false_negatives_by_the_model_itself(tmp_path, margin):
    def theirs(c):
        scores = torch.nn.functional.normalize(c[0]) @ torch.nn.functional.normalize(c[1]).T
        own = torch.eye(N, dtype=torch.bool)
        scores = scores.masked_fill(~own & (scores > scores.diagonal()[:, None] - margin), -torch.inf)
        return torch.nn.functional.cross_entropy(20 * scores, torch.arange(N))
    compare(tmp_path, {"name": "multiple_negatives_ranking_loss", "false_negatives": {"margin": margin}}, random_columns(2), theirs)


LABELS = {"mixed": [1, 0, 0, 1, 1, 0, 1], "positive": [1] * N, "negative": [0] * N}


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", ["contrastive_loss", "online_contrastive_loss"])
def test_contrastive(tmp_path, name, labels, distance):
    from sentence_transformers.sentence_transformer.losses.contrastive import SiameseDistanceMetric
    label = torch.tensor(LABELS[labels])
    # As in torch, but without the 1e-6 that pairwise_distance adds to the difference.
    metric = SiameseDistanceMetric.COSINE_DISTANCE if distance == "cosine" else lambda a, b: (a - b).norm(dim=-1)
    loss_class = losses.ContrastiveLoss if name == "contrastive_loss" else losses.OnlineContrastiveLoss
    margin = 0.8 if distance == "cosine" else 8.0
    compare(tmp_path, {"name": name, "distance": distance, "margin": margin}, random_columns(2),
            lambda c: call(loss_class, c, label, distance_metric=metric, margin=margin), labels=label)


def test_contrastive_sum(tmp_path):
    label = torch.tensor(LABELS["mixed"])
    compare(tmp_path, {"name": "contrastive_loss", "size_average": False}, random_columns(2),
            lambda c: call(losses.ContrastiveLoss, c, label, size_average=False), labels=label)


@pytest.mark.parametrize("distance,margin", [("cosine", 0.5), ("euclidean", 5)])
def test_triplet(tmp_path, distance, margin):
    metric = losses.TripletDistanceMetric.COSINE if distance == "cosine" else losses.TripletDistanceMetric.EUCLIDEAN
    compare(tmp_path, {"name": "triplet_loss", "distance": distance, "margin": margin}, random_columns(3),
            lambda c: call(losses.TripletLoss, c, distance_metric=metric, triplet_margin=margin))


def test_cosine_similarity(tmp_path):
    label = torch.tensor([0.1, 0.9, 0.25, 1, 0, 0.5, 0.75])
    compare(tmp_path, "cosine_similarity_loss", random_columns(2), lambda c: call(losses.CosineSimilarityLoss, c, label.double()),
            labels=label)


@pytest.mark.parametrize("spread", [1.0, 0.2])
def test_mega_batch_margin(tmp_path, spread):
    compare(tmp_path, "mega_batch_margin_loss", random_columns(2, spread=spread),
            lambda c: call(losses.MegaBatchMarginLoss, c, use_mini_batched_version=False))


@pytest.mark.parametrize("labels", LABELS)
def test_orthogonal_projection(tmp_path, labels):
    """sentence-transformers has none: equations 4 to 6 of the paper, on pairs."""
    label = torch.tensor(LABELS[labels])

    def theirs(c):
        cosine = torch.nn.functional.cosine_similarity(*c)
        loss = 0
        if (label == 1).any():
            loss = 1 - cosine[label == 1].mean()
        if (label == 0).any():
            loss = loss + 0.5 * cosine[label == 0].mean().abs()
        return loss
    compare(tmp_path, {"name": "orthogonal_projection_loss", "negative_weight": 0.5}, random_columns(2), theirs, labels=label)


@pytest.mark.parametrize("negatives", [1, 3])
def test_margin_mse(tmp_path, negatives):
    scores = 8 * torch.rand(N, negatives + 1, generator=torch.Generator().manual_seed(2))
    compare(tmp_path, "margin_mse_loss", random_columns(2 + negatives), lambda c: call(losses.MarginMSELoss, c, scores.double()), scores=scores)


@pytest.mark.parametrize("temperature", [1, 2.5])
def test_kl_distillation(tmp_path, temperature):
    scores = 8 * torch.rand(N, 3, generator=torch.Generator().manual_seed(2))
    compare(tmp_path, {"name": "kl_distillation_loss", "temperature": temperature}, random_columns(4),
            lambda c: call(losses.DistillKLDivLoss, c, scores.double(), temperature=temperature), scores=scores)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_vector_distillation(tmp_path, distance):
    teacher = random_columns(2, seed=3)
    labels = torch.stack(teacher, 1).double()
    compare(tmp_path, {"name": "vector_distillation_loss", "distance": distance}, random_columns(2),
            lambda c: call(losses.EmbedDistillLoss, c, labels, distance_metric=distance), teacher=teacher)


@pytest.mark.parametrize("name,loss_class", [("multiple_negatives_ranking_loss", losses.MultipleNegativesRankingLoss),
                                             ("cosine_similarity_loss", losses.CosineSimilarityLoss)])
def test_matryoshka(tmp_path, name, loss_class):
    label = torch.tensor(LABELS["mixed"]) if name.startswith("cosine") else None
    dims, weights = [24, 16, 4], [1, 0.5, 0.25]

    def theirs(c):
        return call(loss_class, c, None if label is None else label.double(),
                    wrap=lambda model, loss: losses.MatryoshkaLoss(model, loss, dims, weights))
    inputs = {} if label is None else {"labels": label}
    compare(tmp_path, {"name": name, "matryoshka_dimensions": dims, "matryoshka_weights": weights}, random_columns(2), theirs, **inputs)


def test_pair_losses_make_pairs_of_triplets(tmp_path):
    """As upstream's script: a query with its positive has label 1, with each negative 0."""
    def theirs(c):
        label = torch.tensor([1] * N + [0] * 2 * N)
        return call(losses.ContrastiveLoss, [torch.cat([c[0]] * 3), torch.cat(c[1:])], label)
    compare(tmp_path, "contrastive_loss", random_columns(4), theirs)
