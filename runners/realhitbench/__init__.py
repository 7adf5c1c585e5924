"""RealHiTBench (arXiv 2506.13405): questions over hierarchical tables."""
