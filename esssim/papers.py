"""The papers whose claims are tested: how they are named, and their BibTeX; and how to cite esssim itself."""

from __future__ import annotations

from dataclasses import dataclass

ESSSIM_BIBTEX = """@software{esssim,
  title   = {esssim: the edge of stochastic stability simulator},
  author  = {{The esssim authors}},
  version = {%s},
  year    = {2026},
  license = {MIT}
}"""


@dataclass(frozen=True)
class Source:
    """Where a claim comes from, in words, and the papers that these words refer to."""

    words: str
    papers: tuple[Paper, ...] = ()

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Paper:
    """One paper, in one version: its BibTeX key and entry, its authors, where it appeared, and its address."""

    key: str
    authors: str
    where: str
    bibtex: str
    url: str

    def __str__(self) -> str:
        return f"{self.authors}, {self.where}"

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The paper itself: a paper is a source like any other."""
        return (self,)


def ours(words: str = "", *papers: Paper) -> Source:
    """A claim of esssim itself, where it says something about papers with `words` that name them."""
    return Source("esssim" + (f", {words}" if words else ""), papers)


def bibtex(sources: tuple[Source | Paper, ...]) -> list[str]:
    """The entries to cite for claims from these sources: esssim, then each paper once."""
    from esssim import __version__

    papers = dict.fromkeys(paper.bibtex for source in sources for paper in source.papers)
    return [ESSSIM_BIBTEX % __version__, *papers]


COHEN = Paper(
    "cohen2021gradient", "Cohen, Kaur, Li, Kolter & Talwalkar", "ICLR 2021, arXiv 2103.00065",
    """@inproceedings{cohen2021gradient,
  title     = {Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability},
  author    = {Cohen, Jeremy M. and Kaur, Simran and Li, Yuanzhi and Kolter, J. Zico and Talwalkar, Ameet},
  booktitle = {International Conference on Learning Representations},
  year      = {2021},
  note      = {arXiv:2103.00065}
}""",
    "https://arxiv.org/abs/2103.00065",
)  # fmt: skip
ANDREYEV_V1 = Paper(
    "andreyev2024edge", "Andreyev & Beneventano", "arXiv 2412.20553 v1",
    """@misc{andreyev2024edge,
  title         = {Edge of Stochastic Stability: Revisiting the Edge of Stability for {SGD}},
  author        = {Andreyev, Arseniy and Beneventano, Pierfrancesco},
  year          = {2024},
  eprint        = {2412.20553},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    "https://arxiv.org/abs/2412.20553v1",
)  # fmt: skip
ANDREYEV_V3 = Paper(
    "andreyev2024edge", "Andreyev & Beneventano", "arXiv 2412.20553 v3",
    ANDREYEV_V1.bibtex,
    "https://arxiv.org/abs/2412.20553v3",
)  # fmt: skip
MOMENTUM = Paper(
    "andreyev2026momentum", "Andreyev et al.", "arXiv 2604.14108",
    """@misc{andreyev2026momentum,
  title         = {Momentum Further Constrains Sharpness at the Edge of Stochastic Stability},
  author        = {Andreyev, Arseniy and Ananthkumar, Advikar and Walden, Marc and Poggio, Tomaso and
                   Beneventano, Pierfrancesco},
  year          = {2026},
  eprint        = {2604.14108},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    "https://arxiv.org/abs/2604.14108",
)  # fmt: skip
MULAYOFF = Paper(
    "mulayoff2024exact", "Mulayoff & Michaeli", "COLT 2024, arXiv 2306.07850",
    """@inproceedings{mulayoff2024exact,
  title     = {Exact Mean Square Linear Stability Analysis for {SGD}},
  author    = {Mulayoff, Rotem and Michaeli, Tomer},
  booktitle = {Proceedings of Thirty Seventh Conference on Learning Theory},
  series    = {Proceedings of Machine Learning Research},
  volume    = {247},
  pages     = {3915--3969},
  year      = {2024},
  note      = {arXiv:2306.07850}
}""",
    "https://arxiv.org/abs/2306.07850",
)  # fmt: skip
LEE_JANG = Paper(
    "lee2023new", "Lee & Jang", "ICLR 2023",
    """@inproceedings{lee2023new,
  title     = {A New Characterization of the Edge of Stability Based on a Sharpness Measure Aware of Batch Gradient
               Distribution},
  author    = {Lee, Sungyoon and Jang, Cheongjae},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}""",
    "https://openreview.net/forum?id=bH-kCY6LdKg",
)  # fmt: skip
AGARWALA = Paper(
    "agarwala2024high", "Agarwala & Pennington", "arXiv 2404.19261",
    """@misc{agarwala2024high,
  title         = {High Dimensional Analysis Reveals Conservative Sharpening and a Stochastic Edge of Stability},
  author        = {Agarwala, Atish and Pennington, Jeffrey},
  year          = {2024},
  eprint        = {2404.19261},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    "https://arxiv.org/abs/2404.19261",
)  # fmt: skip
LIAO = Paper(
    "liao2026sgd", "Liao, Kolomvaki & Kyrillidis", "arXiv 2604.21016",
    """@misc{liao2026sgd,
  title         = {{SGD} at the Edge of Stability: The Stochastic Sharpness Gap},
  author        = {Liao, Fangshuo and Kolomvaki, Afroditi and Kyrillidis, Anastasios},
  year          = {2026},
  eprint        = {2604.21016},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    "https://arxiv.org/abs/2604.21016",
)  # fmt: skip
GRANZIOL = Paper(
    "granziol2022learning", "Granziol, Zohren & Roberts", "JMLR 2022, arXiv 2006.09092",
    """@article{granziol2022learning,
  title   = {Learning Rates as a Function of Batch Size: A Random Matrix Theory Approach to Neural Network Training},
  author  = {Granziol, Diego and Zohren, Stefan and Roberts, Stephen},
  journal = {Journal of Machine Learning Research},
  year    = {2022},
  note    = {arXiv:2006.09092}
}""",
    "https://arxiv.org/abs/2006.09092",
)  # fmt: skip
KALRA = Paper(
    "kalra2026scalable", "Kalra et al.", "arXiv 2601.16979",
    """@misc{kalra2026scalable,
  title         = {A Scalable Measure of Loss Landscape Curvature for Analyzing the Training Dynamics of {LLMs}},
  author        = {Kalra, Dayal Singh and Gagnon-Audet, Jean-Christophe and Gromov, Andrey and Mediratta, Ishita and
                   Niu, Kelvin and Miller, Alexander H. and Shvartsman, Michael},
  year          = {2026},
  eprint        = {2601.16979},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    "https://arxiv.org/abs/2601.16979",
)  # fmt: skip
GUR_ARI = Paper(
    "gurari2018gradient", "Gur-Ari, Roberts & Dyer", "arXiv 1812.04754",
    """@misc{gurari2018gradient,
  title         = {Gradient Descent Happens in a Tiny Subspace},
  author        = {Gur-Ari, Guy and Roberts, Daniel A. and Dyer, Ethan},
  year          = {2018},
  eprint        = {1812.04754},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    "https://arxiv.org/abs/1812.04754",
)  # fmt: skip
SONG = Paper(
    "song2026zeroth", "Song et al.", "arXiv 2604.14669",
    """@inproceedings{song2026zeroth,
  title     = {Zeroth-Order Optimization at the Edge of Stability},
  author    = {Song, Minhak and Zhang, Liang and Li, Bingcong and He, Niao and Muehlebach, Michael and Oh, Sewoong},
  booktitle = {International Conference on Machine Learning},
  year      = {2026},
  note      = {arXiv:2604.14669}
}""",
    "https://arxiv.org/abs/2604.14669",
)  # fmt: skip
MULAYOFF_STICH = Paper(
    "mulayoff2026stability", "Mulayoff & Stich", "COLT 2026, arXiv 2602.14789",
    """@inproceedings{mulayoff2026stability,
  title     = {On the Stability of Nonlinear Dynamics in {GD} and {SGD}: Beyond Quadratic Potentials},
  author    = {Mulayoff, Rotem and Stich, Sebastian U.},
  booktitle = {Proceedings of Thirty Ninth Conference on Learning Theory},
  series    = {Proceedings of Machine Learning Research},
  volume    = {336},
  pages     = {5210--5243},
  year      = {2026},
  note      = {arXiv:2602.14789}
}""",
    "https://arxiv.org/abs/2602.14789",
)  # fmt: skip
OURS = ours()
PAPERS = (
    COHEN, ANDREYEV_V1, ANDREYEV_V3, MOMENTUM, MULAYOFF, LEE_JANG, AGARWALA, LIAO, GRANZIOL, KALRA, GUR_ARI, SONG,
    MULAYOFF_STICH,
)  # fmt: skip
