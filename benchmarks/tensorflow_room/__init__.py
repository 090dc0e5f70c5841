"""TensorFlow's contenders, and Keras's on it."""

import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # it warns of many functions, of which there are many here
