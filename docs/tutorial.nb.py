# ---
# jupyter:
#   kernelspec:
#     name: python3
#     display_name: Python 3
# ---

# %% [markdown]
# # Tutorial

# %%
import esssim as es

print(es.__version__)
