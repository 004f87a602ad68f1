"""Messages of errors in the reader's language.

Errors are raised in English with their values filled in, for logs and programs. Where a person reads
one, its template is found again in this list and said in their language. A test reads the source and
compares: no message is missing here, none stands here that nobody raises, all are translated.
"""

from __future__ import annotations

import re
from functools import lru_cache

from django.utils.translation import get_language, gettext, gettext_noop

MESSAGES = (
    gettext_noop("A ZIP has at most {} entries here."),
    gettext_noop("A collection has at most {} webhooks."),
    gettext_noop("A collection's name has 1 to 120 characters."),
    gettext_noop("A filter for changes names its collection."),
    gettext_noop("A name has letters, digits, '-', '_' and '.'."),
    gettext_noop("A query of classes alone has no score to explain: its hits are sorted by area."),
    gettext_noop("A release named {} is there already; import it under another."),
    gettext_noop("A saved search's name has 1 to 120 characters."),
    gettext_noop("A search is shared within a collection; name one."),
    gettext_noop("A tag has at most 80 characters."),
    gettext_noop("A value is out of range, or has characters that cannot be stored."),
    gettext_noop("A webhook's address begins with http:// or https://."),
    gettext_noop("A webhook's address has no name or password in it."),
    gettext_noop(
        "A webhook's address must be in the public internet; PAYSAGE_WEBHOOK_PRIVATE=1 allows others."
    ),
    gettext_noop("Another part of this upload is being received."),
    gettext_noop("At most {} files at once; or send a ZIP."),
    gettext_noop("At most {} ids at once; use a filter instead."),
    gettext_noop("At most {} regions and boxes go in a query."),
    gettext_noop("Checksums are {}."),
    gettext_noop("Choose 1 to {} pictures."),
    gettext_noop("Choose a collection."),
    gettext_noop("Choose a picture first."),
    gettext_noop("Choose pictures first."),
    gettext_noop("Fitting needs {} pictures or more; there are {}."),
    gettext_noop("Idempotency-Key has 1 to {} characters."),
    gettext_noop("Image {} has no mask."),
    gettext_noop("Image {} has no region {}; it has {}, from 0."),
    gettext_noop("Image {} is not parsed yet, or could not be."),
    gettext_noop("It was changed meanwhile; read it again before changing it."),
    gettext_noop("Its owner has a collection named {} already."),
    gettext_noop("More bytes than Upload-Length announced."),
    gettext_noop("Name or password is wrong."),
    gettext_noop("Name pictures by ids or by filter."),
    gettext_noop("No model release is active; run `manage.py release list`."),
    gettext_noop("Nobody has that name."),
    gettext_noop("Nobody of that name is a member."),
    gettext_noop("Nothing is left to bring back."),
    gettext_noop("Only JPEG, PNG and WebP pictures are taken, told by their content."),
    gettext_noop("Only its owner may delete a collection."),
    gettext_noop("Parsing this picture ended its worker {} times."),
    gettext_noop("Parts are sent as {}."),
    gettext_noop("Say which label set the checkpoint has: --labels."),
    gettext_noop("Send the picture as the form field `file`."),
    gettext_noop("Something went wrong here; the log has it under the request's id."),
    gettext_noop("Sorting by area needs a class."),
    gettext_noop("The JPEG has over {} scans, as no camera or program writes them; save it again."),
    gettext_noop("The PNG hides over 1 MB in compressed text; save it again without metadata."),
    gettext_noop("The WebP file ends after {} of {} bytes; upload it again in full."),
    gettext_noop("The ZIP cannot be read: {}"),
    gettext_noop("The ZIP is damaged: {}"),
    gettext_noop("The ZIP is over {} MB unpacked."),
    gettext_noop("The ZIP's directory is too large."),
    gettext_noop("The active release followed no other: there is nothing to go back to."),
    gettext_noop("The active release has no class {}."),
    gettext_noop("The active release has not been asked about this picture."),
    gettext_noop("The body is not JSON."),
    gettext_noop("The body is too large; send files as multipart/form-data."),
    gettext_noop("The body must be an object of fields."),
    gettext_noop("The database does not answer; try again in a moment."),
    gettext_noop("The disk is full; nothing of the upload was kept."),
    gettext_noop("The disk is full; try again later from where it stopped."),
    gettext_noop("The file has {} MB; at most {} MB are taken."),
    gettext_noop("The file is empty."),
    gettext_noop("The file is no ZIP, or its end is missing."),
    gettext_noop("The file is not there."),
    gettext_noop("The file is over {} MB."),
    gettext_noop("The file was altered on its way; upload it again."),
    gettext_noop("The first request with this key is still being answered."),
    gettext_noop("The form has too many fields or files."),
    gettext_noop("The header {} is a whole number."),
    gettext_noop("The header {} is not negative."),
    gettext_noop("The owner has every right already."),
    gettext_noop("The part was altered on its way; send it again."),
    gettext_noop("The picture ends before its last pixel; upload it again in full."),
    gettext_noop("The picture has no mask yet."),
    gettext_noop(
        "The picture has {} pixels; at most {} megapixels and {} pixels a side are taken. Scale it down and upload it again."
    ),
    gettext_noop("The picture is not being parsed."),
    gettext_noop("The picture is not parsed, so there is nothing to explain yet."),
    gettext_noop("The picture is {}; each side needs at least {} pixels."),
    gettext_noop("The picture is {}; one side may be at most {} times the other."),
    gettext_noop("The picture waits to be parsed, or is being parsed."),
    gettext_noop("The picture's analysis is {}, not done."),
    gettext_noop("The picture's pixels cannot be decoded; export it again."),
    gettext_noop("The picture's structure is broken or hostile."),
    gettext_noop("The picture's structure is broken; export it again and upload that."),
    gettext_noop("The release's network cannot be loaded: {}"),
    gettext_noop("The request cannot be read."),
    gettext_noop("The stored original is gone; upload the picture again."),
    gettext_noop("The stored original was altered on the disk; upload it again."),
    gettext_noop("The token is unknown, expired or revoked."),
    gettext_noop("The upload goes on at byte {}."),
    gettext_noop("The upload's bytes are gone; begin anew."),
    gettext_noop("There is no collection {}."),
    gettext_noop("There is no endpoint {}; /api/v1/docs shows those there are."),
    gettext_noop("There is no field {} here."),
    gettext_noop("There is no field {}; there are {}."),
    gettext_noop("There is no file in the ZIP."),
    gettext_noop("There is no image {}."),
    gettext_noop("There is no release {}; there are: {}."),
    gettext_noop("There is no such collection."),
    gettext_noop("There is no such image."),
    gettext_noop("There is no such pair."),
    gettext_noop("There is no such saved search."),
    gettext_noop("There is no such stage yet."),
    gettext_noop("There is no such thumbnail yet."),
    gettext_noop("There is no such token."),
    gettext_noop("There is no such upload; begin anew."),
    gettext_noop("There is no such webhook."),
    gettext_noop("There is no {} {}; did you mean {}?"),
    gettext_noop("There is no {} {}; known are {}."),
    gettext_noop("There is nothing here."),
    gettext_noop("There is nothing in this box to search with."),
    gettext_noop("This Idempotency-Key came with another content; use a new key."),
    gettext_noop("This cursor belongs to another query; leave it out to start anew."),
    gettext_noop("This cursor's time is over; search again."),
    gettext_noop("This is no address."),
    gettext_noop("This is no cursor that a page gave."),
    gettext_noop("This picture is not parsed by the active release."),
    gettext_noop("This token may read only."),
    gettext_noop("Too many tries to sign in; wait {} s."),
    gettext_noop("Upload-Checksum is not base64."),
    gettext_noop("Upload-Metadata is names with base64 values."),
    gettext_noop("Upload-Metadata needs `collection`, a collection's id."),
    gettext_noop("Visibility is private or public."),
    gettext_noop("You have a collection named {} already."),
    gettext_noop("You have a saved search named {} already."),
    gettext_noop("You may look at {} but not change it."),
    gettext_noop("You may not manage {}; ask its owner."),
    gettext_noop("ZIPs in several parts are not read."),
    gettext_noop("box is x0,y0,x1,y1."),
    gettext_noop("collection must be a collection's id."),
    gettext_noop("counts is text or list."),
    gettext_noop("cursor is the text that the page before gave."),
    gettext_noop("events are some of {}."),
    gettext_noop("filter is an object."),
    gettext_noop("ids are ids of pictures."),
    gettext_noop("ids are the ids of pictures."),
    gettext_noop("ids is a list of at most {}."),
    gettext_noop("ids is a list of ids of pictures."),
    gettext_noop("layout.grid must be {}."),
    gettext_noop("limit is a whole number."),
    gettext_noop("metadata cannot hold the character NUL."),
    gettext_noop("metadata has at most {} bytes."),
    gettext_noop("metadata holds a number that JSON has not."),
    gettext_noop("metadata is an object."),
    gettext_noop("query is not JSON: {}"),
    gettext_noop(
        "rank gives no weight to what the query shows: pictures are compared by context, layout and composition, a painted scene by layout, regions and boxes by region."
    ),
    gettext_noop("rank needs a weight over 0."),
    gettext_noop("role is one of {}."),
    gettext_noop("sha256 is 64 hex digits."),
    gettext_noop("shared is true or false."),
    gettext_noop("sort is one of {}."),
    gettext_noop("state is one of {}."),
    gettext_noop("state is open, duplicate or different."),
    gettext_noop("taken_at is a time with its zone, such as 2026-05-31T12:00:00Z."),
    gettext_noop("wait is 0 to {} seconds."),
    gettext_noop("wait is a number of seconds."),
    gettext_noop("where.collections holds ids."),
    gettext_noop("{} has a region and a box; give one."),
    gettext_noop("{} is a date such as 2026-05-31."),
    gettext_noop("{} is a link or a device."),
    gettext_noop("{} is a list of texts."),
    gettext_noop("{} is a share in percent, 0 to 100."),
    gettext_noop("{} is a text of {} to {} characters."),
    gettext_noop("{} is a whole number."),
    gettext_noop("{} is active already."),
    gettext_noop("{} is active; promote another one first."),
    gettext_noop("{} is an archive itself."),
    gettext_noop("{} is compressed in a way that is not read; use deflate."),
    gettext_noop("{} is empty: x0 < x1 and y0 < y1 are needed."),
    gettext_noop("{} is encrypted."),
    gettext_noop("{} is from {} to {}."),
    gettext_noop("{} is no name inside an archive."),
    gettext_noop("{} is not as large as it says."),
    gettext_noop(
        "{} is not filled: {} of {} pictures are left ({} not asked for: run `manage.py release fill {}`; {} failed: try them again in the admin, under Analyses)."
    ),
    gettext_noop("{} is one of {}."),
    gettext_noop("{} is over {} MB."),
    gettext_noop("{} is retired; roll back to it, or import it anew."),
    gettext_noop("{} is true or false."),
    gettext_noop("{} is {}'s; save it under a name of your own."),
    gettext_noop("{} is {}; fit a release before it answers."),
    gettext_noop(
        "{} lacks {} of the {} pictures that {} has; `manage.py release rollback --force` goes back to it nevertheless."
    ),
    gettext_noop("{} must be [row, column, class]."),
    gettext_noop("{} must be [x0, y0, x1, y1]."),
    gettext_noop("{} must be a date like 2026-01-31."),
    gettext_noop("{} must be a list of at most {}."),
    gettext_noop("{} must be a number from {} to {}."),
    gettext_noop("{} must be a whole number."),
    gettext_noop("{} must be an id."),
    gettext_noop("{} must be an image's id."),
    gettext_noop("{} must be an object."),
    gettext_noop("{} must be true or false."),
    gettext_noop("{} points out of the archive."),
    gettext_noop("{} runs on shipped weights, which are fitted already."),
    gettext_noop("{}.class limits what a region or box finds; give one of them."),
    gettext_noop("{}.min is over its max."),
)
SOURCE_LANGUAGE = "en"


@lru_cache(1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """A pattern for each template with values; those with most words first, as they say most."""
    spoken = sorted(MESSAGES, key=lambda one: len(one.replace("{}", "")), reverse=True)
    return [
        (re.compile("(.+?)".join(map(re.escape, one.split("{}"))), re.DOTALL), one)
        for one in spoken
        if "{}" in one
    ]


def said(message: str) -> str:
    """An error's message in the language of the thread, or as it is when nothing is known of it."""
    if not message or (get_language() or SOURCE_LANGUAGE).startswith(SOURCE_LANGUAGE):
        return message
    if message in MESSAGES:
        return gettext(message)
    for pattern, template in _patterns():
        found = pattern.fullmatch(message)
        if found:
            return gettext(template).format(*found.groups())
    return message
