"""Named sums over items: the inputs of every formula in :mod:`personaeval.metrics.catalogue`."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.inference import Floats


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the items of a task; docs/metrics.md explains the symbols.

    Fields have shape [...]: [n] for n items one by one, [replicates] for resamples, [] for a whole run.

    Attributes:
        pss_numerator: Σ c[i], over items with at least two scored personas.
        pss_denominator: Σ mean_p q[i,p], over the same items.
        right: Σ q[i,p] over the personas' scored cells.
        cells: their number.
        repeat_numerator: Σ k (k − 1) / (s (s − 1)) over cells with at least two scored samples.
        repeat_denominator: Σ q[i,p] over the same cells.
        common_pss_numerator: as ``pss_numerator``, over the cells that both PSS and repeatability can use.
        common_pss_denominator: likewise.
        common_repeat_numerator: as ``repeat_numerator``, over those cells.
        common_repeat_denominator: likewise.
        score: Σ of the samples' scores under personas.
        samples: number of scored samples under personas.
        persona_right: [..., 1 + m] Σ q[i,p] per persona; the baseline in column 0.
        persona_cells: [..., 1 + m] scored cells per persona.
        experts: [m] whether a persona is an expert of the task's domain. Not a sum.
    """

    pss_numerator: Floats
    pss_denominator: Floats
    right: Floats
    cells: Floats
    repeat_numerator: Floats
    repeat_denominator: Floats
    common_pss_numerator: Floats
    common_pss_denominator: Floats
    common_repeat_numerator: Floats
    common_repeat_denominator: Floats
    score: Floats
    samples: Floats
    persona_right: Floats
    persona_cells: Floats
    experts: NDArray[np.bool_]

    def pack(self) -> Floats:
        """[n, k] one row per item, k = 12 + 2 (1 + m): the inverse of :meth:`unpack`."""
        columns = [getattr(self, name) for name in _SCALARS]
        return np.column_stack([*columns, self.persona_right, self.persona_cells]).astype(np.float64)

    @classmethod
    def unpack(cls, sums: Floats, experts: NDArray[np.bool_]) -> Totals:
        """Named sums from [..., k] packed ones."""
        scalars = dict(zip(_SCALARS, np.moveaxis(sums[..., : len(_SCALARS)], -1, 0), strict=True))
        right, cells = np.split(sums[..., len(_SCALARS) :], [1 + len(experts)], axis=-1)
        return cls(**scalars, persona_right=right, persona_cells=cells, experts=experts)

    @property
    def pss(self) -> Floats:
        """[...] persona stability score."""
        return self.pss_numerator / self.pss_denominator

    @property
    def accuracy(self) -> Floats:
        """[...] mean over the personas' cells."""
        return self.right / self.cells

    @property
    def common_pss(self) -> Floats:
        """[...] PSS over the cells that repeatability can use as well."""
        return self.common_pss_numerator / self.common_pss_denominator

    @property
    def common_repeatability(self) -> Floats:
        """[...] repeatability over the cells that PSS can use as well."""
        return self.common_repeat_numerator / self.common_repeat_denominator

    @property
    def expert_accuracy(self) -> Floats:
        """[...] mean accuracy of the experts with a scored cell; NaN if there are none."""
        right, cells = (own[..., 1:][..., self.experts] for own in (self.persona_right, self.persona_cells))
        known = cells > 0
        total = np.divide(right, cells, out=np.zeros(np.shape(cells)), where=known).sum(axis=-1)
        count = known.sum(axis=-1)
        return np.asarray(np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0))


_SCALARS = tuple(
    entry.name for entry in fields(Totals) if entry.name not in ("persona_right", "persona_cells", "experts")
)
