"""Third stage, or the only one: StyleGAN2-ADA training (Karras et al. 2020a, 2020b), optionally joint with an encoder.

Plain adversarial training needs a generator and a discriminator. With an encoder and reconstruction losses the same
loop keeps real photos, seen through the encoder, in the objective: one discriminator judges samples and rebuilt photos.
Devices, precision, and several processes come from a Lightning Fabric; gradients are averaged over processes by hand,
because R1 and path length differentiate through the networks twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from latentedit.networks import Discriminator, Encoder, Generator
from latentedit.training.generator.ada import AdaptiveProbability, AugmentPipe
from latentedit.training.generator.autoencoder import gradient_error
from latentedit.training.generator.latent_fit import LatentCritic
from latentedit.training.generator.penalties import PathLengthPenalty, discriminator_loss, generator_loss, r1_penalty
from latentedit.training.generator.recipes import AdversarialConfig
from latentedit.training.state import load_state, save_state, update_average


class AdversarialTrainer:
    """Networks, averages, optimisers, and the regularisers' state of a run.

    Args:
        generator, discriminator: trained in place; ``average`` is the generator's weight EMA.
        encoder: joins when the config has a ``reconstruction``.
        judges: further discriminators of images by name, "patches" and "features".
        perceive: maps rebuilt and real photos to perceptual and identity distances, [N] each; None leaves both out.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        config: AdversarialConfig,
        fabric: Fabric,
        *,
        encoder: Encoder | None = None,
        critic: LatentCritic | None = None,
        judges: Mapping[str, nn.Module] | None = None,
        perceive: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.perceive = perceive
        device = fabric.device
        self.generator = generator.to(device)
        self.discriminator = discriminator.to(device)
        self.encoder = None if encoder is None else encoder.to(device)
        self.critic = LatentCritic(generator.w_dim).to(device) if critic is None else critic.to(device)
        self.judges = nn.ModuleDict(judges or {}).to(device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.encoder_average = None if encoder is None else copy.deepcopy(encoder).eval().requires_grad_(False)
        self.augment = AugmentPipe(config.augment).to(device)
        self.path_length = PathLengthPenalty().to(device)
        self.ada = AdaptiveProbability(
            self.augment, target=config.ada_target or 0.0, speed_images=config.ada_speed_images
        )
        self.optimizers = self._optimizers()
        self.images = 0
        self.step = 0
        self._signs: list[float] = []

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam with the learning rates and betas corrected for lazy regularisation (Karras et al. 2020, appendix B)."""
        config = self.config

        def adam(groups: Iterable[Any], interval: int) -> torch.optim.Optimizer:
            ratio = interval / (interval + 1) if interval else 1.0
            made = [{**group, "lr": group["lr"] * ratio} for group in groups]
            return torch.optim.Adam(made, betas=(config.beta1**ratio, 0.99**ratio), eps=1e-8)

        groups = [{"params": list(self.generator.parameters()), "lr": config.learning_rate}]
        if self.encoder is not None:
            groups.append({"params": list(self.encoder.parameters()), "lr": config.encoder_learning_rate})
        judges = [{"params": list(self.discriminator.parameters()), "lr": config.discriminator_learning_rate}]
        if self.encoder is not None:
            judges.append({"params": list(self.critic.parameters()), "lr": config.discriminator_learning_rate / 2})
        judges += [
            {"params": [p for p in judge.parameters() if p.requires_grad], "lr": config.discriminator_learning_rate / 4}
            for judge in self.judges.values()
        ]
        return {"g": adam(groups, config.path_length_interval), "d": adam(judges, config.r1_interval)}

    @property
    def modules(self) -> dict[str, Any]:
        """Everything a checkpoint holds, by name."""
        named = {
            "generator": self.generator,
            "generator_ema": self.average,
            "discriminator": self.discriminator,
            "critic": self.critic,
            "augment": self.augment,
            "path_length": self.path_length,
            "optimizer_g": self.optimizers["g"],
            "optimizer_d": self.optimizers["d"],
        }
        if self.encoder is not None:
            named |= {"encoder": self.encoder, "encoder_ema": self.encoder_average}
        return named | dict(self.judges)

    def sample_ws(self, count: int, *, mix: bool = True) -> Tensor:
        """Latents [count, L, D] of fresh z; ``mix`` crosses a share of them at a random layer and moves ``w_avg``."""
        mapping = self.generator.mapping
        z = torch.randn(count, mapping.z_dim, device=self.fabric.device)
        ws = mapping(z, update_w_avg=mix)
        if mix and self.config.style_mixing > 0:
            other = mapping(torch.randn_like(z))
            layers = torch.arange(ws.shape[1], device=ws.device)
            cut = torch.randint(1, ws.shape[1], (count, 1), device=ws.device)
            cut = torch.where(torch.rand(count, 1, device=ws.device) < self.config.style_mixing, cut, ws.shape[1])
            ws = torch.where((layers < cut)[:, :, None], ws, other)
        return ws

    def train_step(self, photos: Tensor) -> dict[str, float]:
        """One update of all networks on ``photos`` [batch_size,3,R,R]; returns named losses."""
        parts = photos.to(self.fabric.device).chunk(self.config.accumulate)
        losses = self._update_generator(parts)
        losses |= self._update_discriminator(parts)
        self.step += 1
        self.images += len(photos) * self.fabric.world_size
        self._update_averages(len(photos) * self.fabric.world_size)
        return losses

    def _update_generator(self, parts: tuple[Tensor, ...]) -> dict[str, float]:
        self._judges_learn(False)
        losses: dict[str, float] = {}
        for photos in parts:
            with self.fabric.autocast():
                fake = self.generator.synthesis(self.sample_ws(len(photos)), noise_mode="random")
                loss = self._fooled(fake)
                losses["g"] = float(loss.detach())
                if self.encoder is not None and self.config.reconstruction is not None:
                    terms = self._reconstruction(photos)
                    losses |= {name: float(value.detach()) for name, value in terms.items()}
                    weights = vars(self.config.reconstruction)
                    loss = loss + torch.stack([weights[name] * value.float() for name, value in terms.items()]).sum()
            (loss / len(parts)).backward()
        interval = self.config.path_length_interval
        if interval and self.step % interval == 0:
            ws = self.sample_ws(max(len(parts[0]) // 2, 1))
            penalty = self.path_length(self.generator.synthesis(ws, noise_mode="random"), ws)
            (penalty * self.config.path_length_weight * interval).backward()
            losses["path_length"] = float(penalty.detach())
        self._apply("g")
        self._judges_learn(True)
        return losses

    def _judges_learn(self, learn: bool) -> None:
        for judge in (self.discriminator, self.critic, *self.judges.values()):
            judge.requires_grad_(learn)

    def _fooled(self, images: Tensor) -> Tensor:
        """The generator's loss on ``images`` by all discriminators of images."""
        loss = generator_loss(self.discriminator(self.augment(images)).float())
        for name, judge in self.judges.items():
            loss = loss + self._weight(name) * generator_loss(judge(images).float())
        return loss

    def _weight(self, judge: str) -> float:
        return {"patches": self.config.patch_weight, "features": self.config.feature_weight}[judge]

    def _reconstruction(self, photos: Tensor) -> dict[str, Tensor]:
        """Terms of the joint objective, named as the fields of `ReconstructionConfig`."""
        assert self.encoder is not None
        base, offsets = self.encoder.parts(photos)
        rebuilt = self._rebuilt(base, offsets)
        terms = {
            "mse": F.mse_loss(rebuilt.float(), photos),
            "gradient": gradient_error(rebuilt.float(), photos).mean(),
            "adversarial": self._fooled(rebuilt),
            "offset": offsets.square().sum(dim=2).mean(),
            "latent_critic": generator_loss(self.critic(base)),
        }
        if self.perceive is not None:
            perceptual, identity = self.perceive(rebuilt.float(), photos)
            terms |= {"perceptual": perceptual.mean(), "identity": identity.mean()}
        return terms

    def _rebuilt(self, base: Tensor, offsets: Tensor) -> Tensor:
        """Photos from their latents, a share of them without the offsets."""
        assert self.config.reconstruction is not None
        kept = torch.rand(len(base), 1, 1, device=base.device) >= self.config.reconstruction.base_share
        return self.generator.synthesis(base.unsqueeze(1) + offsets * kept, noise_mode="const")

    def _update_discriminator(self, parts: tuple[Tensor, ...]) -> dict[str, float]:
        losses: dict[str, float] = {}
        for photos in parts:
            with torch.no_grad(), self.fabric.autocast():
                fake, base = self._fakes(photos)
            with self.fabric.autocast():
                real_logits = self.discriminator(self.augment(photos)).float()
                loss = discriminator_loss(real_logits, self.discriminator(self.augment(fake)).float())
                losses["d"] = float(loss.detach())
                for name, judge in self.judges.items():
                    own = discriminator_loss(judge(photos).float(), judge(fake).float())
                    losses[name] = float(own.detach())
                    loss = loss + own
                if base is not None:
                    with torch.no_grad():
                        w = self.sample_ws(len(base), mix=False)[:, 0]
                    loss = loss + self._critic_loss(w, base)
            (loss / len(parts)).backward()
            self._signs.append(float(real_logits.detach().sign().mean()))
        interval = self.config.r1_interval
        if interval and self.step % interval == 0:
            penalty = r1_penalty(self.discriminator, parts[0])
            (penalty * self.config.r1_gamma / 2 * interval).backward()
            losses["r1"] = float(penalty.detach())
            if "patches" in self.judges:
                penalty = r1_penalty(self.judges["patches"], parts[0])
                (penalty * self.config.patch_gamma / 2 * interval).backward()
                losses["r1_patches"] = float(penalty.detach())
        self._apply("d")
        self._adapt(len(parts[0]) * len(parts))
        return losses | {"p": float(self.augment.p)}

    def _fakes(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Samples, half of them replaced by rebuilt photos in the joint objective, and the photos' base latents."""
        if self.encoder is None or self.config.reconstruction is None:
            return self.generator.synthesis(self.sample_ws(len(photos)), noise_mode="random"), None
        half = len(photos) // 2
        base, offsets = self.encoder.parts(photos)
        rebuilt = self._rebuilt(base[:half], offsets[:half])
        fake = self.generator.synthesis(self.sample_ws(len(photos) - half), noise_mode="random")
        return torch.cat([rebuilt, fake]), base

    def _critic_loss(self, w: Tensor, base: Tensor) -> Tensor:
        """The critic takes the mapping's latents for real and the encoder's for fake, with R1 (e4e, eq. 4)."""
        w = w.float().detach().requires_grad_(True)
        logits = self.critic(w)
        (gradient,) = torch.autograd.grad(logits.sum(), w, create_graph=True)
        return discriminator_loss(logits, self.critic(base.float())) + gradient.square().sum(dim=1).mean()

    def _apply(self, which: str) -> None:
        """Average gradients over processes, replace those that are not finite by zero, and step."""
        optimizer = self.optimizers[which]
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        flat: Any = torch.cat([p.grad.flatten() for p in parameters])
        if self.fabric.world_size > 1:
            flat = self.fabric.all_reduce(flat, reduce_op="mean")
        flat = flat.nan_to_num(nan=0.0, posinf=1e5, neginf=-1e5)
        for p, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad.copy_(gradient.view_as(p))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _adapt(self, images: int) -> None:
        if self.config.ada_target is None or self.step % self.config.ada_interval:
            return
        mean = sum(self._signs) / len(self._signs)
        self.ada.update(mean, images * self.config.ada_interval * self.fabric.world_size)
        self._signs.clear()

    def _update_averages(self, images: int) -> None:
        """Weight EMA with a half-life of ``ema_images``, shorter while the run is young (ramp-up of 5 %)."""
        half_life = min(self.config.ema_images, max(self.images * 0.05, 1.0))
        decay = 0.5 ** (images / half_life)
        update_average(self.average, self.generator, decay)
        if self.encoder is not None and self.encoder_average is not None:
            update_average(self.encoder_average, self.encoder, decay)

    def save(self, path: str | Path) -> None:
        """Write everything needed to go on exactly here, the random state included."""
        counters = {"step": self.step, "images": self.images, "signs": self._signs, "random": torch.get_rng_state()}
        save_state(path, {**self.modules, **counters})

    def load(self, path: str | Path) -> None:
        """Continue from a checkpoint that `save` wrote, with the learning rates of the present configuration."""
        groups = [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]
        rates = [group["lr"] for group in groups]
        values = load_state(path, self.modules)
        groups = [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self.step, self.images, self._signs = int(values["step"]), int(values["images"]), list(values["signs"])
        torch.set_rng_state(values["random"])
