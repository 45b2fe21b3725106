"""What the results say, as tables."""


def print_report(path, metric):
    raise NotImplementedError
