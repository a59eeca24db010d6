"""The tolerance of all tests: 8 times the noise of fp32, plus 2e-6 of the tensor's largest value."""


def allowed(noise, largest):
    return 8 * noise + 2e-6 * largest


def complaint(name, ours, golden, noise):
    """A message if a tensor is out of tolerance, else None."""
    import torch
    if tuple(ours.shape) != tuple(golden.shape):
        return f"{name}: shape {tuple(ours.shape)}, expected {tuple(golden.shape)}"
    if golden.numel() == 0:
        return None
    ours, golden = ours.detach().double(), golden.detach().double()
    difference = (ours - golden).abs().max().item()
    limit = allowed(noise, golden.abs().max().item())
    if not torch.isfinite(ours).all() or difference > limit:
        return f"{name}: differs by {difference:.3e}, allowed {limit:.3e} (noise {noise:.3e})"
    return None
