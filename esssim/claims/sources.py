"""Where the claims come from."""

COHEN = "Cohen, Kaur, Li, Kolter & Talwalkar, ICLR 2021, arXiv 2103.00065"
MINIBS = "Andreyev & Beneventano, arXiv 2412.20553 v1"
BATCH_SHARPNESS = "Andreyev & Beneventano, arXiv 2412.20553 v3"
MOMENTUM = "Andreyev et al., arXiv 2604.14108"
MEAN_SQUARE = "Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850"
OURS = "esssim"
