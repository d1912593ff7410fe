"""The papers whose claims are tested, as BibTeX, and how to cite esssim itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A BibTeX entry; `marks` are the words by which the source line of a claim refers to it."""

    key: str
    marks: tuple[str, ...]
    bibtex: str


ESSSIM = """@software{esssim,
  title   = {esssim: the edge of stochastic stability simulator},
  author  = {{The esssim authors}},
  version = {%s},
  year    = {2026},
  license = {MIT}
}"""

PAPERS: tuple[Paper, ...] = (
    Paper(
        "cohen2021gradient",
        ("2103.00065", "Cohen"),
        """@inproceedings{cohen2021gradient,
  title     = {Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability},
  author    = {Cohen, Jeremy M. and Kaur, Simran and Li, Yuanzhi and Kolter, J. Zico and Talwalkar, Ameet},
  booktitle = {International Conference on Learning Representations},
  year      = {2021},
  note      = {arXiv:2103.00065}
}""",
    ),
    Paper(
        "andreyev2024edge",
        ("2412.20553", "Andreyev & Beneventano"),
        """@misc{andreyev2024edge,
  title         = {Edge of Stochastic Stability: Revisiting the Edge of Stability for {SGD}},
  author        = {Andreyev, Arseniy and Beneventano, Pierfrancesco},
  year          = {2024},
  eprint        = {2412.20553},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    ),
    Paper(
        "lee2023new",
        ("Lee & Jang",),
        """@inproceedings{lee2023new,
  title     = {A New Characterization of the Edge of Stability Based on a Sharpness Measure Aware of Batch Gradient
               Distribution},
  author    = {Lee, Sungyoon and Jang, Cheongjae},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}""",
    ),
    Paper(
        "mulayoff2024exact",
        ("2306.07850", "Mulayoff"),
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
    ),
    Paper(
        "andreyev2026momentum",
        ("2604.14108", "Andreyev et al."),
        """@misc{andreyev2026momentum,
  title         = {Momentum Further Constrains Sharpness at the Edge of Stochastic Stability},
  author        = {Andreyev, Arseniy and Ananthkumar, Advikar and Walden, Marc and Poggio, Tomaso and
                   Beneventano, Pierfrancesco},
  year          = {2026},
  eprint        = {2604.14108},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    ),
    Paper(
        "agarwala2024high",
        ("2404.19261", "Agarwala & Pennington"),
        """@misc{agarwala2024high,
  title         = {High Dimensional Analysis Reveals Conservative Sharpening and a Stochastic Edge of Stability},
  author        = {Agarwala, Atish and Pennington, Jeffrey},
  year          = {2024},
  eprint        = {2404.19261},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    ),
    Paper(
        "granziol2022learning",
        ("2006.09092", "Granziol"),
        """@article{granziol2022learning,
  title   = {Learning Rates as a Function of Batch Size: A Random Matrix Theory Approach to Neural Network Training},
  author  = {Granziol, Diego and Zohren, Stefan and Roberts, Stephen},
  journal = {Journal of Machine Learning Research},
  year    = {2022},
  note    = {arXiv:2006.09092}
}""",
    ),
    Paper(
        "liao2026sgd",
        ("2604.21016", "Liao, Kolomvaki & Kyrillidis"),
        """@misc{liao2026sgd,
  title         = {{SGD} at the Edge of Stability: The Stochastic Sharpness Gap},
  author        = {Liao, Fangshuo and Kolomvaki, Afroditi and Kyrillidis, Anastasios},
  year          = {2026},
  eprint        = {2604.21016},
  archiveprefix = {arXiv},
  primaryclass  = {cs.LG}
}""",
    ),
)


def papers(source: str) -> list[Paper]:
    """The papers that a source line refers to."""
    return [paper for paper in PAPERS if any(mark in source for mark in paper.marks)]


def keys(source: str) -> list[str]:
    """The BibTeX keys of `bibtex(source)`."""
    return ["esssim", *(paper.key for paper in papers(source))]


def bibtex(source: str) -> list[str]:
    """The entries to cite for a claim from `source`: esssim, then each paper that its source line refers to."""
    from esssim import __version__

    return [ESSSIM % __version__, *(paper.bibtex for paper in papers(source))]
