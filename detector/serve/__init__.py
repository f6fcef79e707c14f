"""Detection over HTTP: bounded queue, uploads, metrics, and a page to try it on; without torch.

Needs the extra ``serve``; :mod:`detector.cli.serve` says so where it is missing.
"""
