"""The explorer: a page that trains small models in the browser, with every statistic and the flow beside the run."""
