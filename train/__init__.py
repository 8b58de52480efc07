"""How the recurrent tracker was made: free still photographs -> scenes -> crops (-> training).

    stills        packages -> licences -> pictures -> tile set and cut-out set (on disk)
    sets          those sets, and real trajectories, in memory
    plan          what happens in a batch of scenes: who moves where, what hides it
    render        a plan -> frames or crops, boxes, presence, seconds between frames
    preview       a contact sheet to look at

It runs from a checkout, on a CPU or a GPU, and is no part of the wheel.
"""
