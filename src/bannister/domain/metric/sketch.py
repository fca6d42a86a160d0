class Sketch: pass
