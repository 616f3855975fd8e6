"""Scores of short sentences against one reference each: exact match, BLEU, ROUGE-L, CIDEr.

Words are lower case, without punctuation, as the caption tools of COCO split them (github.com/tylin/coco-caption). METEOR and
SPICE, which need Java and WordNet, and a rating by a large language model are left to outside tools; the predictions file holds
what they take.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

Words = list[str]

CIDER_SIGMA = 6.0
"""Deviation of the length difference that CIDEr-D forgives, words (Vedantam et al., CIDEr, 2015)."""

ROUGE_BETA = 1.2
"""Weight of recall in COCO's ROUGE-L."""

ORDERS = (1, 2, 3, 4)


def words(text: str) -> Words:
    """Lower-case words and numbers of a sentence; ``5.3`` and ``car's`` stay whole."""
    return re.findall(r"[a-z0-9]+(?:[.'_-][a-z0-9]+)*", text.lower())


def ngrams(sentence: Words, order: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``order`` words occurs."""
    return Counter(tuple(sentence[i : i + order]) for i in range(len(sentence) - order + 1))


def bleu(predictions: Sequence[Words], references: Sequence[Words]) -> dict[str, float]:
    """Corpus BLEU of orders 1 to 4, 0 to 1 (Papineni et al., 2002): clipped precisions, geometric mean, brevity penalty."""
    length, reference_length = sum(map(len, predictions)), sum(map(len, references))
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length) if length else 0.0
    result, logs = {}, 0.0
    for order in ORDERS:
        hits = total = 0
        for said, wanted in zip(predictions, references):
            mine = ngrams(said, order)
            hits += (mine & ngrams(wanted, order)).total()
            total += mine.total()
        logs += math.log(hits / total) if hits else -math.inf
        result[f"bleu_{order}"] = penalty * math.exp(logs / order)
    return result


def longest_common(first: Words, second: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for place, other in enumerate(second, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]


def rouge_l(predictions: Sequence[Words], references: Sequence[Words]) -> float:
    """Mean F-score of the longest common subsequence, 0 to 1 (Lin, 2004)."""

    def score(said: Words, wanted: Words) -> float:
        common = longest_common(said, wanted)
        if not common:
            return 0.0
        precision, recall = common / len(said), common / len(wanted)
        return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)

    return sum(map(score, predictions, references)) / len(predictions)


def cider(predictions: Sequence[Words], references: Sequence[Words]) -> float:
    """Mean CIDEr-D, 0 to 10: cosine of clipped tf-idf vectors of 1 to 4 words, with a penalty for another length. Documents
    are the references."""
    total = math.log(max(len(references), 1))
    result = 0.0
    for order in ORDERS:
        wanted = [ngrams(sentence, order) for sentence in references]
        documents = Counter(gram for grams in wanted for gram in grams)

        def weighted(
            grams: Counter[tuple[str, ...]], found: Counter[tuple[str, ...]] = documents
        ) -> dict[object, float]:
            return {gram: count * (total - math.log(max(1, found[gram]))) for gram, count in grams.items()}

        for said, reference, text in zip(predictions, wanted, references):
            mine, theirs = weighted(ngrams(said, order)), weighted(reference)
            overlap = sum(min(value, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, value in mine.items())
            norms = math.sqrt(sum(v * v for v in mine.values()) * sum(v * v for v in theirs.values()))
            if norms:
                penalty = math.exp(-((len(said) - len(text)) ** 2) / (2 * CIDER_SIGMA**2))
                result += overlap / norms * penalty
    return 10 * result / len(ORDERS) / len(predictions)


def score_texts(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """All scores of predictions against references, one to one.

    Raises:
        ValueError: If the numbers differ or there is nothing to score.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"expected one reference per prediction, got {len(references)} for {len(predictions)}")
    said, wanted = [words(text) for text in predictions], [words(text) for text in references]
    exact = sum(map(str.__eq__, predictions, references)) / len(predictions)
    return {"accuracy": exact, **bleu(said, wanted), "rouge_l": rouge_l(said, wanted), "cider": cider(said, wanted)}


def score_in_chunks(predictions: Sequence[str], references: Sequence[str], size: int) -> dict[str, float]:
    """Scores of pieces of ``size`` sentences, averaged by their lengths, as the published evaluation computes them."""
    total: dict[str, float] = {}
    for start in range(0, len(predictions), size):
        part = predictions[start : start + size]
        for name, value in score_texts(part, references[start : start + size]).items():
            total[name] = total.get(name, 0.0) + value * len(part) / len(predictions)
    return total
