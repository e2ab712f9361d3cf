"""The elements and the texts of a page, as a browser would find them."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Collects elements, texts and scripts as a browser would split them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.texts.append(data)
        else:
            self.raw.append((self.elements[-1][1].get("type") or self.cdata_elem, data))
