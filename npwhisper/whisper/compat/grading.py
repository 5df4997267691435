import sys

from npwhisper.whisper.compat.moved import stand_in

if __name__ == "__main__":  # python -m npwhisper.grading
    from npwhisper.__main__ import main

    sys.exit(main(["grade", *sys.argv[1:]]))
stand_in(__name__)
