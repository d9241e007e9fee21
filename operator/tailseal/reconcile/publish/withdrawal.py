"""Takes revoked keys from every place where nothing else can be decided: no readable ledger, or no spec.

Nothing is added and nothing else is taken out, for nobody knows what is promised. What was written down of the places
is enough for it: where they are, and by which id we write there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tailseal.api.reasons import Reason
from tailseal.domain.publishing import Wish
from tailseal.reconcile.context import Context
from tailseal.reconcile.identityprovider.withdrawal import revoked_ids_of
from tailseal.reconcile.publish.place import Entry, Line, Place, Target, prefix_of
from tailseal.reconcile.publish.record import Record


def withdrawals(ctx: Context, namespace: str, records: Iterable[Record]) -> Iterator[Entry]:
    """What is left to do at each place that was written down."""
    revoked, names = revoked_ids_of(ctx.objects, namespace), set[str]()
    for record in records:
        name = record.former_name if record.name in names else record.name
        names.add(name)
        wish = Wish(record.writer, revoked=revoked, adding=False, dropping=False)
        target = Target(name, "", wish, None, prefix_of(record.store), "", 0, False)
        yield Entry(name, record.store, target, "its credentialsSecretRef")


def explain(places: Iterable[Place], why: str) -> None:
    """Say of every place that could be reached that nothing but revoked keys is touched there."""
    for place in places:
        if place.line is None or place.line.status or place.line.reason is Reason.LEAVING:
            text = f"{why}; what is revoked is taken out, and nothing else is changed"
            place.line = Line(status=None, reason=Reason.LEDGER_UNREADABLE, message=text)
