"""The language of what people read: English, or Korean by `--lang ko` or the locale.

The code writes English everywhere: in errors, logs, `--json` and every file that programs read. Only where a text
reaches a person (the terminal, the text log of failures, the page of the report, the review page) is it handed to
`translated`, which finds the English text in the catalogue of the language. So records, caches and messages between
processes hold one language, and a failure that was stored in English is shown in Korean whenever somebody looks at it.
"""

from tasks.language.catalogue import VARIABLE, Language, language, page_words, translated

__all__ = ["VARIABLE", "Language", "language", "page_words", "translated"]
