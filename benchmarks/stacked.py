"""Networks as one: weights stacked under `jax.vmap`, which makes convolutions grouped.

Trials, on JAX only: where three encoders of one channel fill a GPU less well than a single large
one, three stacked encoders may, or the networks of two folds in one step. `forward` is the plain
intermediate model, `stacked_forward` the same sums with the weights of the encoders stacked; both
take one training step of the same form. Augmentation and dropout are left out of all.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import keras

from organelle_fusion.gradients import encoder_names


def encoders_and_head(model: keras.Model) -> tuple[list[keras.Model], keras.Model]:
    """Encoders of intermediate fusion, one per channel, and its head."""
    names = encoder_names(model)
    return [model.get_layer(name) for name in names], model.get_layer("fusion_head")


def variables(model: keras.Model) -> dict[str, list]:
    """Trainable and other variables of encoders and head, as arrays: lists of one list for each."""
    encoders, head = encoders_and_head(model)
    return {
        kind: [
            [variable.value for variable in getattr(part, f"{kind}_variables")]
            for part in (*encoders, head)
        ]
        for kind in ("trainable", "non_trainable")
    }


def with_stacked_encoders(values: dict[str, list]) -> dict[str, list]:
    """The same with the encoders' arrays stacked along a new first axis: [encoders, head]."""
    return {
        kind: [[jnp.stack(arrays) for arrays in zip(*parts[:-1], strict=True)], parts[-1]]
        for kind, parts in values.items()
    }


def forward(model: keras.Model) -> Callable:
    """Function (trainable, non-trainable, images, training) → (logits, new non-trainable)."""
    encoders, head = encoders_and_head(model)

    def logits(trainable, others, images, training):
        planes = jnp.split(images / 255, len(encoders), axis=-1)
        embeddings, changed = [], []
        for encoder, own, other, plane in zip(encoders, trainable, others, planes, strict=False):
            (_, embedding), new = encoder.stateless_call(own, other, plane, training=training)
            embeddings.append(embedding)
            changed.append(new)
        # Without dropout, which would draw other numbers.
        found, _ = head.stateless_call(
            trainable[-1], others[-1], jnp.concatenate(embeddings, axis=-1), training=False
        )
        return found, [*changed, others[-1]]

    return logits


def stacked_forward(model: keras.Model) -> Callable:
    """As `forward`, of variables `with_stacked_encoders`: one encoder, mapped over weights."""
    encoders, head = encoders_and_head(model)

    def logits(trainable, others, images, training):
        planes = jnp.moveaxis(images / 255, -1, 0)[..., None]

        def encode(own, other, plane):
            (_, embedding), new = encoders[0].stateless_call(own, other, plane, training=training)
            return embedding, new

        embeddings, changed = jax.vmap(encode)(trainable[0], others[0], planes)
        joined = jnp.moveaxis(embeddings, 0, 1).reshape(len(images), -1)
        found, _ = head.stateless_call(trainable[-1], others[-1], joined, training=False)
        return found, [changed, others[-1]]

    return logits


def training_step(logits: Callable, rate: float = 1e-3) -> Callable:
    """Compiled step (trainable, others, moments, images, labels) → the first three and the loss.

    Cross-entropy and the moments of Adam, which read and write memory as a training does.
    """
    return jax.jit(_step(logits, rate))


def step_of_folds(logits: Callable, rate: float = 1e-3) -> Callable:
    """As `training_step`, of several folds at once: every array has a first axis of folds."""
    return jax.jit(jax.vmap(_step(logits, rate)))


def _step(logits: Callable, rate: float) -> Callable:
    def loss_of(trainable, others, images, labels):
        found, changed = logits(trainable, others, images, True)
        chances = jax.nn.log_softmax(found.astype(jnp.float32))
        loss = -jnp.take_along_axis(chances, labels[:, None], axis=1).mean()
        return loss, changed

    def step(trainable, others, moments, images, labels):
        (loss, others), slopes = jax.value_and_grad(loss_of, has_aux=True)(
            trainable, others, images, labels
        )
        first, second = moments
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
        second = jax.tree.map(lambda m, g: 0.999 * m + 0.001 * g * g, second, slopes)
        trainable = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), trainable, first, second
        )
        return trainable, others, (first, second), loss

    return step


def first_moments(trainable) -> tuple:
    """Zeros for both moments of Adam."""
    zeros = jax.tree.map(jnp.zeros_like, trainable)
    return zeros, zeros
