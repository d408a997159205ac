"""The score log: a share of all scored samples, with every term of their rewards, as Parquet by day."""
