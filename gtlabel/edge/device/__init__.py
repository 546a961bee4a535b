"""What runs on the camera: the standard library, numpy, Pillow and one runtime."""
