import numpy as np
import pytest
from scipy import stats

from keras_modals._src.evaluation.kinds import kind_of
from keras_modals._src.evaluation.statistics import holm, paired_test, samples_for
from keras_modals._src.labels import Classes


def test_paired_test_is_the_t_test_where_test_samples_are_the_same(rng):
    differences = rng.normal(0.3, 1.0, 12)
    expected = stats.ttest_1samp(differences, 0.0)
    result = paired_test(differences)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.mean / result.standard_error == pytest.approx(expected.statistic)


def test_paired_test_is_corrected_for_splits_that_overlap():
    # By hand: the mean is 2, and the variance of 1 is multiplied by (1 / 3 + 0.25).
    result = paired_test([1.0, 2.0, 3.0], test_to_train=0.25)
    assert result.standard_error == pytest.approx((1 / 3 + 0.25) ** 0.5)
    t = 2 / (1 / 3 + 0.25) ** 0.5
    assert result.p_value == pytest.approx(2 * (1 - stats.t.cdf(t, 2)))


def test_paired_test_of_splits_finds_what_is_not_there_as_rarely_as_it_should(rng):
    """Compares two equal methods on 10 splits of a small data set.

    Each split tests 40 of 200 samples, so splits share samples. The uncorrected test is
    wrong far more often than 5% of the time. The corrected test is within 4 standard
    errors of 5%, or below.
    """
    found, uncorrected = 0, 0
    trials = 1000
    for _ in range(trials):
        # The advantage of one method over the other on each sample.
        advantage = rng.normal(size=200)
        splits = [rng.permutation(200)[:40] for _ in range(10)]
        differences = [advantage[split].mean() for split in splits]
        found += paired_test(differences, 40 / 160).p_value < 0.05
        uncorrected += paired_test(differences).p_value < 0.05
    error = (0.05 * 0.95 / trials) ** 0.5
    assert found / trials < 0.05 + 4 * error
    assert uncorrected / trials > 0.05 + 4 * error


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([], np.nan),
        ([1.0], np.nan),
        ([0.0, 0.0], 1.0),
        # The probabilities are those of two, three and five equal coin tosses.
        ([0.05, 0.05], 1 / 2),
        ([-0.1, -0.1, -0.1 + 1e-17], 1 / 4),
        # Each difference is two of 90 samples, with the precision of a file.
        ([0.911111 - 0.933333, 0.888889 - 0.911111], 1 / 2),
        ([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3], 1 / 16),
    ],
)
def test_paired_test_of_few_differences(differences, p_value):
    assert paired_test(differences).p_value == pytest.approx(p_value, nan_ok=True)


def test_holm():
    # The smallest of four is multiplied by 4, and the results never decrease.
    corrected = holm([0.03, np.nan, 0.005, 0.5, 0.02])
    np.testing.assert_allclose(corrected, [0.06, np.nan, 0.02, 0.5, 0.06])
    assert holm([0.7, 0.9]).tolist() == [1.0, 1.0]


def test_as_many_samples_as_it_says_are_enough_eight_times_of_ten(rng):
    differences = rng.normal(size=2000)
    differences -= differences.mean()
    differences = 0.5 + differences / differences.std(ddof=1)
    count = samples_for(differences)
    assert 20 < count < 50
    samples = rng.normal(0.5, 1.0, (4000, count))
    found = np.mean(stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05)
    # With 4,000 samples, 0.8 has a standard error of 0.006. Sums of quantiles of
    # Student's t-distribution only approximate those of the noncentral one.
    assert 0.77 < found < 0.83
    assert samples_for(np.array([1.0, -1.0])) is None


@pytest.mark.parametrize("comparisons", [1, 7])
def test_differences_that_are_alike_take_some_seeds_too(comparisons):
    count = samples_for(np.full(2, 0.05), comparisons=comparisons)
    assert comparisons * paired_test(np.full(count, 0.05)).p_value < 0.05
    assert comparisons * paired_test(np.full(count - 1, 0.05)).p_value > 0.05


def test_more_splits_of_one_data_set_do_not_always_tell():
    differences = np.array([0.0, 1.0, 2.0])
    plain = samples_for(differences)
    assert plain == 10
    # Mean and deviation are 1. Find the first count whose statistic reaches the sum of
    # both quantiles.
    expected = next(
        count
        for count in range(2, 1000)
        if (1 / count + 0.1) ** -0.5 >= sum(stats.t.ppf([0.975, 0.8], count - 1))
    )
    assert samples_for(differences, 0.1) == expected > plain
    assert samples_for(differences, 0.1, comparisons=5) is None
    assert samples_for(differences, 0.25) is None


@pytest.mark.parametrize("comparisons", [1, 6])
def test_what_is_noise_takes_more_seeds_than_there_are(comparisons, rng):
    for _ in range(200):
        differences = rng.normal(0.7, 1.0, rng.integers(2, 8))
        corrected = comparisons * paired_test(differences).p_value
        if corrected > 0.05:
            assert samples_for(differences, 0, comparisons) > len(differences)


def all_scores(labels, probabilities):
    classes = probabilities.shape[1]
    return kind_of(Classes(classes), (None, classes)).all_scores(labels, probabilities)


def test_scores_by_hand():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    scores = all_scores(labels, probabilities)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    # F1 of class 0: precision 1, recall 2/3; of class 1: precision 1/2, recall 1.
    assert scores["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    of_the_label = np.array([0.9, 0.8, 0.3, 0.6])
    assert scores["log_loss"] == pytest.approx(-np.log(of_the_label).mean(), rel=1e-5)


def test_calibration_error_by_loop(rng):
    logits = 2 * rng.normal(size=(500, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = rng.integers(0, 4, 500)
    error = 0.0
    for low in np.arange(15) / 15:
        confidence = probabilities.max(1)
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            correct = (probabilities.argmax(1) == labels)[inside]
            gap = abs(correct.mean() - confidence[inside].mean())
            error += inside.mean() * gap
    scores = all_scores(labels, probabilities)
    assert scores["calibration_error"] == pytest.approx(error, rel=1e-4)


def test_a_model_that_diverged_scores_as_one_that_knows_nothing():
    scores = all_scores(np.array([0, 1, 2]), np.full((3, 3), np.nan))
    assert scores["log_loss"] == pytest.approx(np.log(3), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(1 / 3)
