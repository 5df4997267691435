"""Take the pictures of the glass box that the README and notebook 10 show: ``python notebooks/make_glass_pictures.py``.

Needs Chromium, playwright and Pillow.
"""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import npwhisper

FOLDER = Path(npwhisper.__file__).parent / "assets" / "notebooks"
STEP = 11  # at which "country" is said


def opened(page: Page, path: Path) -> None:
    """The page of the example, at the step of the pictures."""
    npwhisper.glass(npwhisper.example(), path, title="jfk.flac")
    page.goto(path.as_uri())
    page.wait_for_selector("#app[aria-busy=false]")
    for _ in range(STEP - 2):  # a page opens at the second step
        page.keyboard.press("ArrowRight")


def show_choice(page: Page) -> None:
    """Why "country" was said and not "county", from the top of the card on."""
    page.click('[data-view="tokens"]')
    choice = page.locator('[data-key="rival"]')
    choice.select_option(
        label=next(t for t in choice.locator("option").all_text_contents() if "county" in t)
    )
    page.evaluate("() => document.querySelector('#why').scrollIntoView()")


def take(page: Page, name: str) -> None:
    """Keep what is seen."""
    page.wait_for_timeout(500)  # milliseconds: colours change slowly
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(
        FOLDER / f"glass_{name}.webp", quality=88, method=6
    )


def main() -> None:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        opened(page, Path(folder) / "talk.html")
        take(page, "overview")
        page.click('[data-view="cross"]')
        take(page, "attention")
        show_choice(page)
        take(page, "choice")
        browser.close()


if __name__ == "__main__":
    main()
