"""RL-ASC, a photo as semantic concepts in a few hundred bytes (Huang et al., 2023, arXiv:2208.04094). Read it in this order:

::

    concepts        layout, cells, the list of concepts with level and indices, the quantiser
    encoder         sender: photo → layout, features              painter    receiver: layout, concepts → picture
    choice          what can be sent at which size                allocation who gets the bytes, by rules and by search
    policy          who gets the bytes, learned                   score      J of a choice by decoding it
    criterion       J = -(λr bpp + λs (1 - mIoU) + λp LPIPS)
    layout_coder    layout ↔ symbols                              feature_coder    indices ↔ symbols
    entropy         symbols ↔ bytes, exactly                      tables     what both coders expect, as shipped
    bitstream       the .sem file                                 sizes      how long it will be, without writing it
    codec           all of it as one BitCodec                     receipt    where the bytes of a file went
"""
