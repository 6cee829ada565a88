from hypothesis import settings

# The first example of a test pays for imports, and a busy machine for everything: time is no property to test here.
settings.register_profile("sccalmflow", deadline=None)
settings.load_profile("sccalmflow")
