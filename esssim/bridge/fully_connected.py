"""Hessian products of fully connected networks by hand: everything that does not depend on the vector is computed once.

    z_l = W_l a_{l−1} + c_l,  a_l = φ(z_l),  f = z_L,  δ_L = ∇_f ℓ,  g_l = W_{l+1}ᵀδ_{l+1},  δ_l = φ'(z_l)∘g_l;
    for a direction (V_l, u_l):  ż_l = W_l ȧ_{l−1} + V_l a_{l−1} + u_l,  ȧ_l = φ'∘ż_l,  δ̇_L = S ż_L,
    δ̇_l = φ''∘ż_l∘g_l + φ'∘(W_{l+1}ᵀδ̇_{l+1} + V_{l+1}ᵀδ_{l+1}),  Hv = (mean δ̇_l a_{l−1}ᵀ + δ_l ȧ_{l−1}ᵀ, mean δ̇_l);
    the Jacobian alone: Jv = ż_L, and Jᵀu = Σ (ε_l a_{l−1}ᵀ, ε_l) with ε_L = u, ε_l = φ'∘W_{l+1}ᵀε_{l+1}.

Source: Pearlmutter, Neural Computation 1994 (the R operator); S = ∇²_f ℓ.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from esssim.bridge.layers import Layer

Derivatives = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def _tanh(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    value = torch.tanh(z)
    slope = 1 - value**2
    return value, slope, -2 * value * slope


def _sigmoid(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    value = torch.sigmoid(z)
    slope = value * (1 - value)
    return value, slope, slope * (1 - 2 * value)


def _relu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.relu(z), (z > 0).to(z.dtype), torch.zeros_like(z)


def _gelu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    below = torch.special.ndtr(z)
    density = torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5
    return z * below, below + z * density, (2 - z**2) * density


DERIVATIVES: dict[str, Derivatives] = {"tanh": _tanh, "sigmoid": _sigmoid, "relu": _relu, "gelu": _gelu}


class FullyConnected:
    """The network at one θ on all n samples: what every product of every batch shares.

    x: (n, ...), y: targets (n, c) of the loss "squared", or labels (n,) of "cross_entropy".
    """

    def __init__(self, layers: list[Layer], theta: Tensor, x: Tensor, y: Tensor, loss: str) -> None:
        self.layers, self.n_params = layers, len(theta)
        self._weights = [theta[k.weight : k.weight + k.d_in * k.d_out].view(k.d_out, k.d_in) for k in layers]
        self._inputs = [x.reshape(len(x), -1)]
        self._slopes: list[Tensor] = []
        self._bent: list[Tensor] = []
        bends: list[Tensor] = []
        for layer, weight in zip(layers, self._weights, strict=True):
            z = self._inputs[-1] @ weight.T
            if layer.offset is not None:
                z = z + theta[layer.offset : layer.offset + layer.d_out]
            if layer.activation is not None:
                value, slope, bend = DERIVATIVES[layer.activation](z)
                self._inputs.append(value)
                self._slopes.append(slope)
                bends.append(bend)
        self.outputs = z
        self._probabilities = self._top = None
        if loss == "cross_entropy":
            self._probabilities, self._top = torch.softmax(z, dim=1), z.argmax(dim=1)
            # p_y − 1 = −Σ p_j over the other classes, which does not cancel.
            own = torch.nn.functional.one_hot(y, z.shape[1]).bool()
            others = self._probabilities.masked_fill(own, 0.0)
            delta = torch.where(own, -others.sum(dim=1, keepdim=True), others)
        else:
            delta = z - y
        deltas = [delta]
        for k in range(len(layers) - 2, -1, -1):
            pulled = deltas[0] @ self._weights[k + 1]
            self._bent.insert(0, bends[k] * pulled)
            deltas.insert(0, self._slopes[k] * pulled)
        self._deltas = deltas

    def gradients(self, batches: Tensor) -> Tensor:
        """g_B of each batch: (m, b) -> (m, p)."""
        (m, b), layers = batches.shape, self.layers
        images = self._weights[0].new_empty(m, self.n_params)
        for k, layer in enumerate(layers):
            delta = self._deltas[k][batches] / b
            self._fill(images, layer, torch.bmm(delta.transpose(1, 2), self._inputs[k][batches]), delta.sum(dim=1))
        return images

    def gradient_moments(self) -> tuple[Tensor, Tensor]:
        """The mean and the variance over the samples of every entry of ∇ℓᵢ: (p,) each; an entry of W is one of δaᵀ."""
        n = len(self._inputs[0])
        first, second = self._weights[0].new_empty(2, 1, self.n_params)
        for k, layer in enumerate(self.layers):
            delta, below = self._deltas[k], self._inputs[k]
            self._fill(first, layer, (delta.T @ below / n)[None], delta.mean(dim=0)[None])
            self._fill(second, layer, ((delta**2).T @ below**2 / n)[None], (delta**2).mean(dim=0)[None])
        return first[0], torch.clamp(second[0] - first[0] ** 2, min=0.0)

    def along(self, directions: Tensor) -> Tensor:
        """Jᵢv for every sample and direction: (r, p) -> (n, r, c)."""
        moved = None
        for k, layer in enumerate(self.layers):
            rows = directions[:, layer.weight : layer.weight + layer.d_in * layer.d_out].reshape(-1, layer.d_in)
            dot = (self._inputs[k] @ rows.T).view(-1, len(directions), layer.d_out)
            if moved is not None:
                dot += moved @ self._weights[k].T
            if layer.offset is not None:
                dot += directions[:, layer.offset : layer.offset + layer.d_out]
            if k < len(self.layers) - 1:
                moved = self._slopes[k][:, None, :] * dot
        return dot

    def back(self, covectors: Tensor) -> Tensor:
        """Σᵢ Jᵢᵀuᵢ: (n, r, c) -> (r, p)."""
        n, r, _ = covectors.shape
        layers = self.layers
        images = covectors.new_empty(r, self.n_params)
        change = covectors
        for k in range(len(layers) - 1, -1, -1):
            layer = layers[k]
            weights = change.reshape(n, -1).T @ self._inputs[k]
            self._fill(images, layer, weights.view(r, layer.d_out, layer.d_in), change.sum(dim=0))
            if k > 0:
                change = self._slopes[k - 1][:, None, :] * (change @ self._weights[k])
        return images

    @staticmethod
    def _fill(images: Tensor, layer: Layer, weights: Tensor, offsets: Tensor) -> None:
        """The entries of one layer in vectors (m, p): weights (m, d_out, d_in), offsets (m, d_out)."""
        images[:, layer.weight : layer.weight + layer.d_in * layer.d_out] = weights.flatten(1)
        if layer.offset is not None:
            images[:, layer.offset : layer.offset + layer.d_out] = offsets

    def bound(self, batches: Tensor) -> Callable[[Tensor], Tensor]:
        """V ↦ H_{B_m}v_m, (m, p) -> (m, p), for batches (m, b)."""
        (m, b), layers = batches.shape, self.layers
        last = len(layers) - 1
        inputs = [part[batches] for part in self._inputs]
        slopes = [part[batches] for part in self._slopes]
        bents = [part[batches] for part in self._bent]
        deltas = [part[batches] for part in self._deltas]
        # A mean over the batch is wanted, and everything is linear in the two that end up in it.
        scaled_deltas = [part.transpose(1, 2) / b for part in deltas]
        probabilities = top = None
        if self._probabilities is not None and self._top is not None:
            probabilities, top = self._probabilities[batches], self._top[batches][:, :, None]

        def product(vectors: Tensor) -> Tensor:
            directions = [vectors[:, k.weight : k.weight + k.d_in * k.d_out].view(m, k.d_out, k.d_in) for k in layers]
            moved: list[Tensor] = []  # ȧ_l
            dots: list[Tensor] = []  # ż_l
            for k, layer in enumerate(layers):
                dot = torch.bmm(inputs[k], directions[k].transpose(1, 2))
                if k > 0:
                    dot += moved[-1] @ self._weights[k].T
                if layer.offset is not None:
                    dot += vectors[:, None, layer.offset : layer.offset + layer.d_out]
                dots.append(dot)
                if k < last:
                    moved.append(slopes[k] * dot)
            change = dots[last]
            if probabilities is not None and top is not None:
                # (diag(p) − ppᵀ)ż: a constant in ż does not count, and with 0 at the likeliest class nothing cancels.
                change = change - change.gather(2, top)
                change = probabilities * (change - (probabilities * change).sum(dim=2, keepdim=True))
            images = torch.empty_like(vectors)
            for k in range(last, -1, -1):
                layer = layers[k]
                into = images[:, layer.weight : layer.weight + layer.d_in * layer.d_out].view(
                    m, layer.d_out, layer.d_in
                )
                mean = change / b
                torch.bmm(mean.transpose(1, 2), inputs[k], out=into)
                if k > 0:
                    into += torch.bmm(scaled_deltas[k], moved[k - 1])
                if layer.offset is not None:
                    images[:, layer.offset : layer.offset + layer.d_out] = mean.sum(dim=1)
                if k > 0:
                    pulled = change @ self._weights[k] + torch.bmm(deltas[k], directions[k])
                    change = bents[k - 1] * dots[k - 1] + slopes[k - 1] * pulled
            return images

        return product
