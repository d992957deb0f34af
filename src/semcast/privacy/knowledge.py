"""Knowledge base: what faces look like in general, in the generator's codes, and what fits a face of which parts are hidden.

The paper's knowledge base is the mean code L_m of each part over the training photos (Han et al. 2023, sec. 3.2). Ours
also holds a factor model of the codes and a few hundred *donors*: faces that nobody has, each the mix of several training
photos. With y = w (L - L_m), w how visible each number of a code is,

    y = Fᵀ z + e,  z ~ N(0, I),  e ~ N(0, ψ),   so   E[z | visible parts v] = (I + F_v ψ_v⁻¹ F_vᵀ)⁻¹ F_v ψ_v⁻¹ y_v = ẑ(v),

and the private parts p become those of the donor d whose visible parts ask for the most similar factors, moved by the
difference that is left:  P_p = d_p + (F_pᵀ (ẑ(v) - ẑ(v_d))) / w_p. Nothing of it depends on a private code. (Our choice: the
factor model makes the part fit the face's pose, skin and light; the donor makes it a particular one, not the mean.)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from semcast.domains import NUM_CODES
from semcast.errors import BadInput
from semcast.generative.encoder import BOUND
from semcast.privacy.filter import Randomness
from semcast.weights import load, save


@dataclass(frozen=True)
class KnowledgeConfig:
    """``code``: numbers a code; ``factors`` of the model; ``donors``: faces of nobody."""

    code: int = 48
    factors: int = 96
    donors: int = 384


class KnowledgeBase(nn.Module):
    """Tensors of the knowledge base; all of them together are public.

    ``mean`` L_m and ``weight`` w ``[28, code]``, ``factors`` F ``[R, 28, code]``, ``spread`` ψ ``[28, code]``,
    ``donors`` ``[K, 28, code]``.
    """

    mean: Tensor
    weight: Tensor
    factors: Tensor
    spread: Tensor
    donors: Tensor

    def __init__(self, config: KnowledgeConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or KnowledgeConfig()
        shape = (NUM_CODES, c.code)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("weight", torch.ones(shape))
        self.register_buffer("factors", torch.zeros(c.factors, *shape))
        self.register_buffer("spread", torch.ones(shape))
        self.register_buffer("donors", torch.zeros(c.donors, *shape))

    @classmethod
    def load(cls, name: str = "knowledge") -> KnowledgeBase:
        """The shipped one."""
        checkpoint = load(name, kind="knowledge")
        return checkpoint.build(cls, KnowledgeConfig).eval()

    def save(self, path: Path) -> str:
        """Write it as weights (fp16); returns the fingerprint."""
        return save(path, self.state_dict(), kind="knowledge", config=asdict(self.config))

    def check(self, code: int) -> None:
        """Raise BadInput where it was made for a generator with codes of another length."""
        if code != self.config.code:
            raise BadInput(
                f"the knowledge base is for codes of {self.config.code} numbers, the generator's have {code}: "
                "make it again (semcast train knowledge)"
            )

    def draw(self, random: Randomness) -> Tensor:
        """Codes ``[28, code]`` of a face of nobody from the factor model: μ + (zᵀF) / w, z normal."""
        z = torch.from_numpy(random.standard_normal((self.config.factors,))).float().to(self.mean.device)
        return self.mean + torch.einsum("r,rnc->nc", z, self.factors) / self.weight

    def explain(self, codes: Tensor, visible: Tensor) -> Tensor:
        """ẑ ``[B, R]``: the factors that the visible codes (bool ``[28]``) of ``codes`` ``[B, 28, code]`` ask for."""
        y = ((codes - self.mean) * self.weight)[:, visible].flatten(1)
        f = self.factors[:, visible].flatten(1)
        g = f / self.spread[visible].flatten()
        precision = torch.eye(len(f), device=f.device) + g @ f.T
        factors: Tensor = torch.linalg.solve(precision, g @ y.T)
        return factors.T

    def replace(self, codes: Tensor, private: Tensor) -> Tensor:
        """Codes whose private ones (bool ``[28]``) are a donor's, fitted to the others; those are unchanged.

        Not one number of the result depends on ``codes[:, private]``.
        """
        visible = ~private
        asked, offered = self.explain(codes, visible), self.explain(self.donors, visible)
        chosen = torch.cdist(asked, offered).argmin(1)
        move = ((asked - offered[chosen]) @ self.factors[:, private].flatten(1)).unflatten(1, (-1, self.config.code))
        natural = codes.clone()
        natural[:, private] = (self.donors[chosen][:, private] + move / self.weight[private]).clamp(-BOUND, BOUND)
        return natural
