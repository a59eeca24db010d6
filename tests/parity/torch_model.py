"""A compact PyTorch model of M2-BERT, the ALiBi attention BERT and the Hugging Face BERT, with which the C++ program is compared.

Written from upstream's mathematics, with its state_dict names and with every quirk that changes a number. The program itself does not use
it. test_torch_model.py checks it against upstream's golden tensors first.

Layouts: B batch, L length, H hidden, I intermediate, N tokens without padding.
"""
import math
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

# Defaults of fields that a YAML leaves out: bert-base-uncased's and upstream's.
DEFAULTS = dict(
    vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, hidden_act="gelu",
    hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.0, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12,
    pad_token_id=0, classifier_dropout=None, num_labels=2, problem_type=None, alibi_starting_size=512, use_glu_mlp=True,
    use_monarch_mlp=False, monarch_mlp_nblocks=4, use_positional_encodings=False, monarch_mixer_sequence_mixing=False,
    residual_long_conv=False, bidirectional=True, hyena_w_mod=1, hyena_filter_dropout=0.2, hyena_filter_order=64,
    hyena_training_additions=False, use_flash_mm=False, use_flash_fft=False, pool_all=False, attention_pooling=False,
    use_cls_token=False, sequence_token_planting=False, sequence_token_planting_pooling="reference", use_normalized_embeddings=False,
    gather_sentence_embeddings=False, mask_padding=False)
NEEDED_BY_THE_MIXER = ("long_conv_l_max", "long_conv_kernel_learning_rate", "hyena_lr_pos_emb", "hyena_w", "hyena_wd", "hyena_emb_dim")
CLS_ID = 101
SEGMENT = 128  # distance between planted tokens
MASK_BIAS = -9984.0  # -10000 after bf16


def config_of(model_config, **overrides):
    values = {**DEFAULTS, **model_config, **overrides}
    if values["monarch_mixer_sequence_mixing"]:
        missing = [key for key in NEEDED_BY_THE_MIXER if key not in values]
        if missing:
            raise ValueError(f"the model config lacks {missing}")
    values["vocab_size"] += -values["vocab_size"] % 8
    return SimpleNamespace(**values)


def read_yaml(path, **overrides):
    """Model name and resolved model_config of one of upstream's YAML files."""
    from omegaconf import OmegaConf
    tree = OmegaConf.load(path)
    model = tree.model
    model_config = OmegaConf.to_container(model.get("model_config", OmegaConf.create({})), resolve=False)
    plain = {}
    for key in model_config:
        try:
            plain[key] = model.model_config[key]
        except Exception:  # an interpolation whose target is not in the file
            continue
    plain = {k: v for k, v in plain.items() if v is not None}
    return str(model.name), {**plain, **overrides}


def build(name, model_config, head):
    """head: 'mlm', 'classification' or 'embedding'. name: as in the YAML's model.name."""
    if name == "hf_bert":
        return HuggingFaceBert(model_config, head)
    config = config_of(model_config)
    return BertForMaskedLM(config) if head == "mlm" else BertForSequence(config, head)


# ---- channel mixer ----

class BlockDiagonalLinear(nn.Module):
    """y = blockdiag(weight) x + bias; weight [nb, out/nb, in/nb], both sizes padded up to a multiple of nb."""

    def __init__(self, width_in, width_out, bias=True, blocks=4):
        super().__init__()
        self.width_in, self.width_out = width_in, width_out
        self.bias = nn.Parameter(torch.zeros(width_out)) if bias else None
        block_in, block_out = -(-width_in // blocks), -(-width_out // blocks)
        self.weight = nn.Parameter(torch.empty(blocks, block_out, block_in).uniform_(-1, 1) / math.sqrt(block_in))

    def forward(self, x):
        blocks, block_out, block_in = self.weight.shape
        lead = x.shape[:-1]
        if blocks * block_in > self.width_in:
            x = F.pad(x, (0, blocks * block_in - self.width_in))
        x_kni = x.reshape(-1, blocks, block_in).transpose(0, 1)
        y = torch.bmm(x_kni, self.weight.transpose(1, 2)).transpose(0, 1).reshape(*lead, blocks * block_out)
        y = y[..., :self.width_out]
        return y if self.bias is None else y + self.bias


class ChannelMixer(nn.Module):
    def __init__(self, c):
        super().__init__()
        def linear(a, b, bias):
            return BlockDiagonalLinear(a, b, bias, c.monarch_mlp_nblocks) if c.use_monarch_mlp else nn.Linear(a, b, bias=bias)
        self.glu, self.intermediate = c.use_glu_mlp, c.intermediate_size
        self.gated_layers = linear(c.hidden_size, c.intermediate_size * (2 if c.use_glu_mlp else 1), False)
        self.wo = linear(c.intermediate_size, c.hidden_size, True)
        self.layernorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)
        self.dropout = nn.Dropout(c.hidden_dropout_prob)

    def forward(self, x, note):
        h = note("mlp.gated_layers", self.gated_layers(x))
        a = F.gelu(h[..., :self.intermediate]) * h[..., self.intermediate:] if self.glu else F.gelu(h)
        y = note("mlp.wo", self.wo(self.dropout(note("mlp.act", a))))
        return self.layernorm(y + x)


# ---- sequence mixer ----

class Sine(nn.Module):
    def __init__(self, width, w, w_mod):
        super().__init__()
        self.freq = nn.Parameter(w * torch.ones(1, width))
        self.w_mod = w_mod

    def forward(self, x):
        return torch.sin(self.w_mod * self.freq * x)


class FilterPositions(nn.Module):
    """z [1, l_max, emb_dim] (trained unless its learning rate is 0) and t [1, l_max, 1]."""

    def __init__(self, emb_dim, l_max, z_trained):
        super().__init__()
        bands = (emb_dim - 1) // 2
        t = torch.linspace(0, 1, l_max)[None, :, None]
        w = 2 * math.pi * torch.linspace(0, l_max - 1, l_max)[None, :, None] / l_max
        phase = torch.linspace(1e-4, bands - 1, bands)[None, None] * w
        z = torch.cat([t, torch.cos(phase), -torch.sin(phase)], dim=-1)
        if z_trained:
            self.z = nn.Parameter(z)
        else:
            self.register_buffer("z", z)
        self.register_buffer("t", t)


class Decay(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("deltas", torch.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, width)[None, None])


class ImplicitFilter(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(c.hidden_size))
        order = c.hyena_filter_order
        sine = Sine(order, c.hyena_w, c.hyena_w_mod)  # all six share one frequency vector
        def network():
            return nn.Sequential(nn.Linear(c.hyena_emb_dim, order), sine, nn.Linear(order, order), sine, nn.Linear(order, order), sine,
                                 nn.Linear(order, c.hidden_size, bias=False))
        self.pos_emb = FilterPositions(c.hyena_emb_dim, c.long_conv_l_max, float(c.hyena_lr_pos_emb) != 0.0)
        self.implicit_filter = network()
        if c.bidirectional:
            self.implicit_filter_rev = network()
        self.modulation = Decay(c.hidden_size)

    def _response(self, net, length):
        decay = torch.exp(-self.pos_emb.t[:, :length] * self.modulation.deltas.abs())
        return (net(self.pos_emb.z[:, :length]) * decay)[0].t()  # [H, L]

    def kernel(self, length, note=None, name="k"):
        """[H, L] causal, or [H, 2L] with the reverse filter at negative times wrapped around."""
        k = self._response(self.implicit_filter, length)
        if note:
            note(name, k)
        if not hasattr(self, "implicit_filter_rev"):
            return k
        k_rev = self._response(self.implicit_filter_rev, length)
        full = F.pad(k, (0, length)) + F.pad(k_rev.flip(-1), (length, 0))
        if note:
            note(name + "_rev", k_rev)
            note(name + "_full", full)
        return full

    def spectrum(self, length, note=None, name="k"):
        kernel = self.kernel(length, note, name)
        return torch.fft.rfft(kernel.float() if kernel.dtype == torch.bfloat16 else kernel, n=2 * length)

    def convolve(self, u_bhl, spectrum):
        length = u_bhl.shape[-1]
        wide = u_bhl.float() if u_bhl.dtype == torch.bfloat16 else u_bhl
        y = torch.fft.irfft(torch.fft.rfft(wide, n=2 * length) * spectrum, n=2 * length)[..., :length]
        return y.to(u_bhl.dtype) + u_bhl * self.bias[:, None]


class SequenceMixer(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c.hidden_size
        self.filter_fn = ImplicitFilter(c)
        if c.residual_long_conv:
            self.filter_fn2 = ImplicitFilter(c)
        self.in_linear = nn.Linear(width, 3 * width)
        self.out_linear = nn.Linear(width, width)
        if c.hyena_training_additions:
            self.layernorm = nn.LayerNorm(width)  # eps 1e-5
        self.short_filter = nn.Conv1d(3 * width, 3 * width, 3, groups=3 * width, padding=2)
        self.cache = None  # (length, spectrum, residual spectrum or None) of frozen weights

    def spectra(self, length, note=None):
        if self.cache is not None and self.cache[0] == length:
            return self.cache[1:]
        first = self.filter_fn.spectrum(length, note, "k")
        return first, self.filter_fn2.spectrum(length, note, "k2") if hasattr(self, "filter_fn2") else None

    def forward(self, u_blh, note, tokens=None):
        """tokens [B, L, 1] (mask_padding): 0 at the padding, where every convolution reads 0."""
        length = u_blh.shape[1]
        if hasattr(self, "layernorm"):
            u_blh = note("mixer.u_norm", self.layernorm(u_blh))
        projected = note("mixer.in_linear", self.in_linear(u_blh))
        if tokens is not None:
            u_blh, projected = u_blh * tokens, projected * tokens
        x1, x2, v = note("mixer.short_conv", self.short_filter(projected.transpose(1, 2))[..., :length]).chunk(3, dim=1)
        spectrum, spectrum2 = self.spectra(length, note)
        gated = v * x1 if tokens is None else v * x1 * tokens.transpose(1, 2)
        y = note("mixer.long_conv", self.filter_fn.convolve(gated, spectrum)) * x2
        if spectrum2 is not None:
            y = y + note("mixer.residual_conv", self.filter_fn2.convolve(u_blh.transpose(1, 2), spectrum2))
        return self.out_linear(note("mixer.pre_out", y.transpose(1, 2)))


def alibi_slopes(heads):
    def geometric(n):
        first = 2 ** (-8 / n)
        return [first ** (i + 1) for i in range(n)]
    if heads & (heads - 1) == 0:
        return geometric(heads)
    below = 2 ** int(math.log2(heads))
    return geometric(below) + geometric(2 * below)[0::2][:heads - below]


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        if c.hidden_size % c.num_attention_heads:
            raise ValueError(f"hidden_size {c.hidden_size} is not a multiple of num_attention_heads {c.num_attention_heads}")
        self.heads = c.num_attention_heads
        self.Wqkv = nn.Linear(c.hidden_size, 3 * c.hidden_size)
        self.dropout = nn.Dropout(c.attention_probs_dropout_prob)

    def forward(self, x_nh, rows, batch, length, bias, note):
        qkv = note("mixer.qkv", self.Wqkv(x_nh))
        padded = qkv.new_zeros(batch * length, qkv.shape[-1]).index_put((rows,), qkv)
        q, k, v = padded.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
        context = self.dropout(scores.softmax(dim=-1)) @ v
        return note("mixer.context", context.transpose(1, 2).reshape(batch * length, -1)[rows])


class AttentionOutput(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)
        self.dropout = nn.Dropout(c.hidden_dropout_prob)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self = SelfAttention(c)
        self.output = AttentionOutput(c)

    def forward(self, x_nh, rows, batch, length, bias, note):
        y = self.output.dropout(self.output.dense(self.self(x_nh, rows, batch, length, bias, note)))
        return self.output.LayerNorm(y + x_nh)


# ---- encoder ----

class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attention = SequenceMixer(c) if c.monarch_mixer_sequence_mixing else Attention(c)
        self.mlp = ChannelMixer(c)


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layer = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))


class Embeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size, padding_idx=c.pad_token_id)
        if c.use_positional_encodings:
            self.position_embeddings = nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.token_type_embeddings = nn.Embedding(c.type_vocab_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)
        self.dropout = nn.Dropout(c.hidden_dropout_prob)
        if c.use_positional_encodings:
            self.register_buffer("position_ids", torch.arange(c.max_position_embeddings).expand(1, -1).contiguous())

    def forward(self, ids, types):
        x = self.word_embeddings(ids) + self.token_type_embeddings(types)
        if hasattr(self, "position_embeddings"):
            x = x + self.position_embeddings(self.position_ids[:, :ids.shape[1]])
        return self.dropout(self.LayerNorm(x))


def planted_positions(length, mask_padding):
    """Without the first. With mask_padding they do not depend on the padded length."""
    return torch.arange(SEGMENT, length, SEGMENT) if mask_padding else torch.arange(1, length // SEGMENT) * SEGMENT


class Pooler(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)
        self.pool_all, self.planting = c.pool_all, c.sequence_token_planting
        self.by_row, self.mask_padding = c.sequence_token_planting_pooling == "row", c.mask_padding

    def forward(self, h_blh, mask):
        if self.pool_all:
            state = (h_blh * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        elif self.planting:
            planted = planted_positions(h_blh.shape[1], self.mask_padding)
            alive = (mask[:, planted] == 1).to(h_blh.dtype)
            sums = (h_blh[:, planted] * alive.unsqueeze(-1)).sum(1)
            if self.by_row:  # the mean over a row's own planted tokens, which upstream intended
                state = (h_blh[:, 0] + sums) / (1 + alive.sum(1, keepdim=True))
            else:  # upstream's: sums over all rows, and does not count the first token
                state = (h_blh[:, 0] + sums.sum(0)) / alive.sum()
        else:
            state = h_blh[:, 0]
        return torch.tanh(self.dense(state))


class AttentionPooler(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inner = c.hidden_size, c.intermediate_size
        self.Wqkv = nn.Linear(width, 3 * width)
        self.dense1, self.dense2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dense3, self.dense4 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dense = nn.Linear(width, width)
        self.mask_padding = c.mask_padding

    def _round(self, x, mask, up, down):
        q, k, v = self.Wqkv(x).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])
        if self.mask_padding:
            scores = scores.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf)
            v = v * mask.unsqueeze(-1)
        else:
            scores = scores * mask.unsqueeze(-1)
        return down(F.gelu(up(scores.softmax(dim=1) @ v)))  # softmax over the queries

    def forward(self, h_blh, mask):
        x = self._round(h_blh, mask, self.dense1, self.dense2)
        x = self._round(x, mask, self.dense3, self.dense4)
        return torch.tanh(self.dense(x[:, 0]))


class Bert(nn.Module):
    def __init__(self, c, pooler):
        super().__init__()
        self.config = c
        self.embeddings = Embeddings(c)
        self.encoder = Encoder(c)
        if c.attention_pooling:
            self.pooler = AttentionPooler(c)
        elif pooler:
            self.pooler = Pooler(c)
        self.trace = None  # set to a dict to collect the named activations of the next forward

    def _note(self, prefix):
        def note(name, x):
            if self.trace is not None:
                self.trace[prefix + name] = x
                if x.requires_grad:
                    x.retain_grad()
            return x
        return note

    def forward(self, ids, mask, types):
        note = self._note("")
        x = note("embeddings", self.embeddings(ids, types))
        if self.config.monarch_mixer_sequence_mixing:
            tokens = mask.unsqueeze(-1).to(x.dtype) if self.config.mask_padding else None
            for i, layer in enumerate(self.encoder.layer):
                inner = self._note(f"layer.{i}.")
                x = inner("out", layer.mlp(inner("mixer", layer.attention(x, inner, tokens)), inner))
            return x if tokens is None else x * tokens
        batch, length, width = x.shape
        rows = mask.flatten().nonzero().flatten()
        at = torch.arange(length)
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads), dtype=torch.float32)
        bias = (-slopes[:, None, None] * (at[None] - at[:, None]).abs())[None] + ((1 - mask) * MASK_BIAS)[:, None, None, :].float()
        bias = bias.to(x.dtype)
        x = x.reshape(batch * length, width)[rows]
        for i, layer in enumerate(self.encoder.layer):
            inner = self._note(f"layer.{i}.")
            x = inner("out", layer.mlp(inner("mixer", layer.attention(x, rows, batch, length, bias, inner)), inner))
        return x.new_zeros(batch * length, width).index_put((rows,), x).view(batch, length, width)


class Model(nn.Module):
    """Base of the models: cached spectra, default inputs."""

    def cache_spectra(self, length):
        """Computes each layer's filter spectrum once, for frozen weights and a fixed length."""
        with torch.no_grad():
            for layer in self.bert.encoder.layer:
                mixer = layer.attention
                if isinstance(mixer, SequenceMixer):
                    mixer.cache = None
                    mixer.cache = (length, *(s if s is None else s.detach() for s in mixer.spectra(length)))

    def encode(self, input_ids, attention_mask, token_type_ids):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        return self.bert(input_ids, mask, types), mask


class Transform(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, eps=1e-12)

    def forward(self, x):
        return self.LayerNorm(F.gelu(self.dense(x)))


class Predictions(nn.Module):
    def __init__(self, c, embedding):
        super().__init__()
        self.transform = Transform(c)
        self.decoder = nn.Linear(c.hidden_size, c.vocab_size)
        self.decoder.weight = embedding.weight


class MaskedLMHead(nn.Module):
    def __init__(self, c, embedding):
        super().__init__()
        self.predictions = Predictions(c, embedding)


class BertForMaskedLM(Model):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.bert = Bert(c, pooler=False)
        self.cls = MaskedLMHead(c, self.bert.embeddings.word_embeddings)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None):
        """Dict of sequence_output, logits and, with labels, loss. With labels, logits are zero except at labels > 0."""
        h, _ = self.encode(input_ids, attention_mask, token_type_ids)
        head = self.cls.predictions
        note = self.bert._note("")
        if labels is None:
            return {"sequence_output": h, "logits": head.decoder(note("mlm.transform", head.transform(h)))}
        rows = (labels > 0).flatten().nonzero().flatten()
        predicted = head.decoder(head.transform(h.reshape(-1, h.shape[-1])[rows]))
        loss = F.cross_entropy(predicted, labels.flatten()[rows])
        logits = predicted.new_zeros(labels.numel(), predicted.shape[-1]).index_put((rows,), predicted)
        return {"sequence_output": h, "logits": logits.view(*labels.shape, -1), "loss": loss}


class BertForSequence(Model):
    """Classification and sentence embedding, with the same weights (pooler and classifier)."""

    def __init__(self, c, head):
        super().__init__()
        self.config, self.head = c, head
        self.bert = Bert(c, pooler=True)
        self.dropout = nn.Dropout(c.hidden_dropout_prob if c.classifier_dropout is None else c.classifier_dropout)
        self.classifier = nn.Linear(c.hidden_size, c.num_labels)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None):
        c = self.config
        if input_ids.shape[1] != c.max_position_embeddings:
            raise ValueError(f"input length {input_ids.shape[1]} is not max_position_embeddings {c.max_position_embeddings}")
        if c.sequence_token_planting:
            input_ids = input_ids.clone()
            at = planted_positions(input_ids.shape[1], c.mask_padding)
            dead = attention_mask[:, at] == 0 if c.mask_padding else torch.zeros(input_ids.shape[0], len(at), dtype=torch.bool)
            input_ids[:, at] = torch.where(dead, input_ids[:, at], CLS_ID)
        h, mask = self.encode(input_ids, attention_mask, token_type_ids)
        pooled = self.bert.pooler(h, mask)
        state = h[:, 0] if c.use_cls_token else pooled
        out = {"sequence_output": h, "pooled_output": pooled}
        if self.head == "embedding":
            out["embedding"] = F.normalize(state, dim=1) if c.use_normalized_embeddings else state
            return out
        out["logits"] = self.classifier(state if c.use_cls_token else self.dropout(pooled))
        if labels is not None:
            out["loss"] = classification_loss(out["logits"], labels, c.problem_type)
        return out


def classification_loss(logits, labels, problem_type=None):
    if problem_type is None:
        single = "regression" if logits.shape[-1] == 1 else "single_label_classification"
        problem_type = single if logits.shape[-1] == 1 or not labels.is_floating_point() else "multi_label_classification"
    if problem_type == "regression":
        return F.mse_loss(logits.squeeze(), labels.squeeze().to(logits.dtype))
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels.flatten())
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


# ---- the Hugging Face BERT ----

class HuggingFaceBert(nn.Module):
    """transformers' BERT with the same interface; parameter names have no prefix."""

    def __init__(self, model_config, head):
        super().__init__()
        import transformers
        known = {k: v for k, v in {**DEFAULTS, **model_config}.items()
                 if k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
                          "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
                          "layer_norm_eps", "pad_token_id", "classifier_dropout", "num_labels", "problem_type")}
        config = transformers.BertConfig(**known)
        config._attn_implementation = "eager"
        kind = transformers.BertForMaskedLM if head == "mlm" else transformers.BertForSequenceClassification
        self.inner, self.head, self.config = kind(config), head, config

    def state_dict(self, *args, **kwargs):
        return self.inner.state_dict(*args, **kwargs)

    def load_state_dict(self, state, strict=True):
        return self.inner.load_state_dict(state, strict=strict)

    def named_parameters(self, *args, **kwargs):
        return self.inner.named_parameters(*args, **kwargs)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None):
        inputs = dict(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        body = self.inner.bert(**inputs)
        out = {"sequence_output": body.last_hidden_state}
        if self.head == "mlm":
            out["logits"] = self.inner.cls(body.last_hidden_state)
            if labels is not None:
                out["loss"] = F.cross_entropy(out["logits"].flatten(0, 1), labels.flatten(), ignore_index=-100)
            return out
        out["pooled_output"] = body.pooler_output
        if self.head == "embedding":
            out["embedding"] = body.pooler_output
            return out
        out["logits"] = self.inner.classifier(self.inner.dropout(body.pooler_output))
        if labels is not None:
            out["loss"] = classification_loss(out["logits"], labels, self.config.problem_type)
        return out


# ---- state_dict with roles; files ----

def roles(model):
    """[(name, tensor, role)] in state_dict order; an alias is another name of a tensor that came earlier."""
    seen, result = {}, []
    parameters = {id(p) for _, p in model.named_parameters(remove_duplicate=False)}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            role = "alias"
        else:
            role = "parameter" if id(tensor) in parameters else "buffer"
        seen[id(tensor)] = name
        result.append((name, tensor, role))
    return result


def owned_state(model):
    """name -> tensor, with each shared tensor once, as safetensors requires."""
    return {name: tensor.detach().contiguous() for name, tensor, role in roles(model) if role != "alias"}


def load(model, state):
    """Strict, except that aliases may be missing."""
    result = model.load_state_dict(state, strict=False)
    aliases = {name for name, _, role in roles(model) if role == "alias"}
    missing = [name for name in result.missing_keys if name not in aliases]
    if missing or result.unexpected_keys:
        raise ValueError(f"missing {missing}, unexpected {result.unexpected_keys}")


def load_composer(path):
    state = torch.load(path, map_location="cpu", weights_only=True)["state"]["model"]
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}


def save_composer(path, model):
    """Writes Composer's layout; tied tensors share storage."""
    state = {"model." + name: tensor.detach() for name, tensor, _ in roles(model)}
    torch.save({"state": {"model": state}, "rng": []}, Path(path))


def randomize(model, seed):
    """Random values of the magnitude of trained ones for every parameter, so that layers differ and no term vanishes."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor, role in roles(model):
            if role != "parameter" or name.endswith("pos_emb.z"):
                continue
            draw = torch.randn(tensor.shape, generator=g)
            if name.lower().endswith("layernorm.weight"):
                tensor.copy_(1 + 0.1 * draw)
            elif name.endswith(".freq"):
                tensor.mul_(1 + 0.05 * draw)
            elif name.endswith("short_filter.weight"):
                tensor.copy_(0.5 * draw)
            elif "filter_fn" in name and name.count(".") and name.split(".")[-2].startswith("filter_fn"):
                tensor.copy_(0.5 * draw)  # D
            elif name.endswith("bias"):
                tensor.copy_(0.1 * draw)
            elif "implicit_filter" in name:
                scale = 0.3 / math.sqrt(tensor.shape[-1]) if name.split(".")[-2] in ("2", "4") else 0.5 / math.sqrt(tensor.shape[-1])
                tensor.copy_(scale * draw)
            elif "embeddings" in name:
                tensor.copy_(0.5 * draw)
            else:
                tensor.copy_(draw / math.sqrt(tensor.shape[-1]))
