"""Members that the reference pages leave out."""

_OF_LABELS = {
    "check",
    "check_task",
    "groups",
    "cross_entropy",
    "is_left_out",
    "lacks_label",
    "mixable",
    "num_groups",
    "of_task",
    "says",
    "squared_error",
    "what_is_wrong",
}
#: Class name to the methods and properties that only Keras or the package calls.
NOT_FOR_USERS = {
    "Comparison": {"scale", "unit"},
    "Consistency": {"begin_fit"},
    "GaussianDistance": {"build"},
    "PolicyLayer": {
        "has_form_of",
        "keeps_labels",
        "mixes_classes",
        "mixing_values",
        "num_mixing",
        "partners",
    },
    "LatentAugmentation": {
        "apply",
        "draw",
        "members",
        "needs_groups",
        "read",
        "remember",
        "rows_of",
        "trains_encoder",
    },
    "ModalsModel": {
        "clip_gradients",
        "has_unused",
        "label_losses",
        "mixes_classes",
        "outputs_with",
        "reads_unlabeled",
        "remembering",
        "read_labels",
        "sample_losses",
        "step_scope",
        "training_terms",
        "update_logs",
    },
    "Labels": {
        *_OF_LABELS,
        "labeled",
        "compared",
        "errors",
        "check_output",
        "check_stream",
        "from_config",
        "get_config",
        "groups_of_array",
        "read",
    },
    "Classes": {
        *_OF_LABELS,
        "errors",
        "check_output",
        "check_stream",
        "like",
        "of_arrays",
        "probabilities",
        "shares",
    },
    "MultiLabels": {*_OF_LABELS, "errors", "check_output", "compared"},
    "Positions": {
        *_OF_LABELS,
        "labeled",
        "check_output",
        "check_stream",
        "from_config",
        "get_config",
        "are_several",
        "mixes_targets",
        "num_classes",
        "positions",
        "read",
    },
    "Values": {*_OF_LABELS - {"cross_entropy", "squared_error"}, "errors", "means"},
    "Policy": {"from_config", "get_config"},
    "Prior": {"get_config"},
    "Triplets": {"get_config", "prepare"},
    "PolicySchedule": {"from_config", "get_config"},
    "PopulationBasedOracle": {
        "best_at_the_end",
        "is_finished",
        "lineage",
        "smoothed",
    },
    "PopulationBasedTuner": {"checkpoints", "models"},
    "StoredOracle": {"check_begun_anew", "entries"},
    "SharedEncoderSearch": {"clip_gradients", "end_epoch"},
}


def is_left_out(name, member):
    """Whether a member of a class is not for users, or is a field that the docstring of
    its class describes."""
    if type(member).__name__ == "_tuplegetter":
        return True
    member = getattr(member, "fget", None) or getattr(member, "func", member)
    owner = getattr(member, "__qualname__", "").rpartition(".")[0]
    if owner.endswith("<locals>"):
        # A decorator hides the class that owns it.
        return any(name in names for names in NOT_FOR_USERS.values())
    return name in NOT_FOR_USERS.get(owner, ())
