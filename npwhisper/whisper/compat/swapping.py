from npwhisper.whisper.compat.moved import stand_in

stand_in(__name__)
