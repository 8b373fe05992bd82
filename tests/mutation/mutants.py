"""Wrong versions of the shipped mathematics: each must be noticed by a test.

(file, right code, wrong code[, why the wrong code is equivalent]). The right code stands in the file exactly once, or
`run.py` says so: a list that rots is an error.
"""

G, V, P, B = "gaussian.py", "variance.py", "parameterize.py", "bound.py"
SCHEDULE, DDIM, SAMPLE = "schedules/_base.py", "samplers/ddim.py", "samplers/_base.py"
BITS = "likelihood/_vlb.py"

MUTANTS: list[tuple[str, ...]] = [
    # levels and Gaussians
    (G, "return 2 * (torch.log(self.alpha) - torch.log(self.sigma))", "return torch.log(self.alpha) - torch.log(self.sigma)"),
    (G, "(torch.log(self.alpha) - torch.log(self.sigma))", "(torch.log(self.sigma) - torch.log(self.alpha))"),
    (G, "self.mean + torch.exp(self.log_var / 2) * noise", "self.mean + torch.exp(self.log_var) * noise"),
    (G, "+ self.log_var + math.log(2 * math.pi)) / 2", "+ self.log_var + math.log(2 * math.pi))"),
    (G, "+ self.log_var + math.log(2 * math.pi)) / 2", "- self.log_var + math.log(2 * math.pi)) / 2"),
    (G, "+ self.log_var + math.log(2 * math.pi)) / 2", "+ self.log_var + math.log(math.pi)) / 2"),
    (G, "upper, lower = (x - self.mean + half) * scale", "upper, lower = (x - self.mean + 2 * half) * scale"),
    (G, "torch.where(x > 1 - half, torch.inf, upper)", "torch.where(x > 2, torch.inf, upper)"),
    (G, "torch.where(x < -1 + half, -torch.inf, lower)", "torch.where(x < -2, -torch.inf, lower)"),
    (G, "scale = torch.exp(-self.log_var / 2)\n        upper, lower = (x", "scale = torch.exp(-self.log_var)\n        upper, lower = (x"),
    (G, "0.044715 * z**3", "0.44715 * z**3"),
    (G, "ratio = self.log_var - other.log_var", "ratio = other.log_var - self.log_var"),
    (G, "(self.mean - other.mean) ** 2 * torch.exp(-other.log_var)", "(self.mean - other.mean) ** 2 * torch.exp(-self.log_var)"),
    (G, "(torch.expm1(ratio) - ratio + square) / 2", "torch.expm1(ratio) - ratio + square"),
    (G, "(torch.expm1(ratio) - ratio + square) / 2", "(torch.expm1(ratio) + ratio + square) / 2"),
    (G, "a = t.alpha / s.alpha\n", "a = s.alpha / t.alpha\n"),
    (G, "share = -torch.expm1(t.log_snr - s.log_snr)", "share = torch.expm1(s.log_snr - t.log_snr)"),
    (G, "keep = (s.sigma / t.sigma) ** 2", "keep = s.sigma / t.sigma"),
    (G, "keep = (s.sigma / t.sigma) ** 2", "keep = (t.sigma / s.sigma) ** 2"),
    (G, "Step(a, share * t.sigma**2,", "Step(a, share * s.sigma**2,"),
    (G, "a * keep, s.alpha * share,", "keep, s.alpha * share,"),
    (G, "s.alpha * share, share * s.sigma**2)", "t.alpha * share, share * s.sigma**2)"),
    (G, "s.alpha * share, share * s.sigma**2)", "s.alpha * share, share * t.sigma**2)"),
    (G, "s.alpha * share, share * s.sigma**2)", "s.alpha * share, s.sigma**2 / t.sigma**2)"),  # Sedykh eq. 2.12 as printed
    (G, "s.alpha * share, share * s.sigma**2)", "s.alpha * share, s.sigma**2 - share * t.sigma**2 / s.sigma**2)"),  # Friedman's kappa^2
    (G, "like(2 * torch.log(t.sigma), x0)", "like(torch.log(t.sigma), x0)"),
    (G, "return Gaussian(like(k.a, x_s) * x_s, like(torch.log(k.b), x_s))", "return Gaussian(like(k.a, x_s) * x_s, like(torch.log(k.b) / 2, x_s))"),
    (G, "like(k.from_x_t, x_t) * x_t + like(k.from_x0, x_t) * x0", "like(k.from_x0, x_t) * x_t + like(k.from_x_t, x_t) * x0"),
    (G, "return like(t.alpha, x0) * x0 + like(t.sigma, x0) * noise", "return like(t.alpha**2, x0) * x0 + like(t.sigma, x0) * noise"),
    (G, "return like(t.alpha, x0) * x0 + like(t.sigma, x0) * noise", "return like(t.alpha, x0) * x0 + like(t.sigma**2, x0) * noise"),
    (G, "shape = (-1,) + (1,) * (x.dim() - 1) if coefficient.dim() else ()", "shape = coefficient.shape"),  # Shorts: no [B, 1, 1, 1]
    (G, "keep = torch.sqrt(s.sigma**2 - variance)", "keep = torch.sqrt(s.sigma**2 + 0 * variance)"),
    (G, "k / variance * (s.alpha - k * t.alpha)", "k / variance * (s.alpha + k * t.alpha)"),
    # schedules
    (SCHEDULE, "torch.exp(log_alpha_bar / 2)", "torch.exp(log_alpha_bar)"),
    (SCHEDULE, "torch.sqrt(-torch.expm1(log_alpha_bar))", "-torch.expm1(log_alpha_bar)"),
    (SCHEDULE, "return torch.log(step(self[-3], self[-2]).variance)", "return torch.log(step(self[-3], self[-2]).b)"),
    (SCHEDULE, "((t.time - 1) * (1000 / self.T))", "(t.time * (1000 / self.T))"),
    (SCHEDULE, "return self._neighbour(t, 1)", "return self._neighbour(t, 2)"),
    ("schedules/linear.py", "/ max(T - 1, 1)", "/ max(T, 1)"),
    ("schedules/cosine.py", ".clamp_max(max_beta)", ""),
    ("schedules/cosine.py", "angle = [(t / T + s) / (1 + s)", "angle = [(t / T) / (1 + s)"),
    ("schedules/vp.py", "* u**2 / 4", "* u**2 / 2"),
    ("schedules/edm.py", "share * (self._high - self._low)) ** self.rho\n", "share * (self._high - self._low)) ** (self.rho + 1)\n"),
    # parameterisations
    (P, "Equation(torch.ones_like(t.alpha), -t.sigma, t.alpha)", "Equation(torch.ones_like(t.alpha), t.sigma, t.alpha)"),
    (P, "return Equation(-t.sigma, torch.zeros_like(one), one)", "return Equation(t.sigma, torch.zeros_like(one), one)"),
    (P, "return self._combine(fe / det, -self.t.sigma * k / det)", "return self._combine(fe / det, self.t.sigma * k / det)"),
    (P, "self._combine(-f0 / det, self.t.alpha * k / det)", "self._combine(-f0 / det, self.t.sigma * k / det)"),
    (P, "like(self.t.alpha, self.x_t) * self.eps - like", "like(self.t.alpha, self.x_t) * self.eps + like"),
    (P, "r / total, -(d**2) / total)", "r**2 / total, -(d**2) / total)"),
    (P, "self.t.sigma**2 / self.t.alpha, 0.0)", "self.t.sigma / self.t.alpha, 0.0)"),
    # the reverse step
    (V, "like(k.from_x_t, p.x_t) * p.x_t + like(k.from_x0, p.x_t) * p.plain_x0", "p.plain_x0"),  # Shorts' p_sample_loop
    (V, "like(k.from_x_t, p.x_t) * p.x_t + like(k.from_x0, p.x_t) * p.plain_x0", "like(k.from_x0, p.x_t) * p.x_t + like(k.from_x_t, p.x_t) * p.plain_x0"),
    (V, "return torch.where(k.variance == 0, small, torch.log(k.b))", "return small"),
    (V, "return torch.where(k.variance == 0, small, torch.log(k.b))", "return torch.log(k.b)"),
    (V, "        return small\n", "        return torch.log(k.b)\n"),
    (V, "return low + p.variance * (high - low)", "return high + p.variance * (low - high)"),
    (V, "return low + p.variance * (high - low)", "return torch.log(torch.exp(low) + p.variance * (torch.exp(high) - torch.exp(low)))"),
    (V, "k.variance + k.from_x0**2 * self.spread(p.t)", "k.variance + k.from_x0 * self.spread(p.t)"),
    (V, "mean = mean + torch.exp(log_var) * p.guide", "mean = mean - torch.exp(log_var) * p.guide"),
    (V, "mean = mean + torch.exp(log_var) * p.guide", "mean = mean + torch.exp(log_var / 2) * p.guide"),
    # the bound
    (B, "return marginal(x0, t).kl(target).flatten(1).sum(1)", "return target.kl(marginal(x0, t)).flatten(1).sum(1)"),
    (B, "like(k.from_x0, x0) * x0, like(log_var, x0)).kl(model)", "like(k.from_x0, x0) * x0, like(log_var, x0)).kl(model) / 2"),
    (B, "nll = -decoder(model, x0)", "nll = decoder(model, x0)"),
    (B, "x_t[where] = forward(x_s[where], s_in, t_in).sample(noise[where, 2])", "pass"),  # Friedman: as if independent
    (B, "return log_q - log_p.flatten(1).sum(1)", "return -log_q - log_p.flatten(1).sum(1)"),
    (B, "variance = eta**2 * step(t, s).variance", "variance = eta * step(t, s).variance"),
    (B, "error.cpu().double().square().sum()", "error.cpu().double().abs().sum()"),
    (BITS, "bits = 1 / (x0[0].numel() * math.log(2))", "bits = 1 / x0[0].numel()"),
    (BITS, "bits = 1 / (x0[0].numel() * math.log(2))", "bits = 1 / math.log(2)"),
    (BITS, "return self.prior + self.steps.sum(1) + self.decoder", "return self.steps.sum(1) + self.decoder"),
    (BITS, "bits * prior_kl(denoiser, x0, chain[0])", "bits * prior_kl(denoiser, x0, chain[1])"),
    # objectives
    ("objectives/simple.py", "target(x0, noise, t, denoiser.schedule)", "target(noise, x0, t, denoiser.schedule)"),
    ("objectives/hybrid.py", "output=p.output.detach()", "output=p.output"),
    ("objectives/hybrid.py", "vlb = chain.steps * step_terms", "vlb = step_terms"),
    ("objectives/vlb.py", "chain.steps * term + prior,", "term + prior,"),
    ("objectives/vlb.py", "chain.steps * term + prior,", "chain.steps * term,"),
    ("objectives/weighted.py", "/ (2 * math.log(2))", "/ math.log(2)"),
    ("objectives/weighted.py", "k.from_x0**2 * torch.exp(-log_var)", "k.from_x0**2 * torch.exp(-2 * log_var)"),  # Weng: |Sigma|^2
    ("objectives/min_snr.py", "clamp_max(self.gamma)", "clamp_min(self.gamma)"),
    ("objectives/denoising.py", "* score + noise)", "* score - noise)"),
    ("objectives/exact.py", "score.square().sum(1) / 2)", "score.square().sum(1))"),
    ("objectives/sliced.py", "(curvature + size / 2)", "(curvature - size / 2)"),
    ("times/importance.py", "square().mean(1).sqrt()", "square().mean(1)"),
    ("times/importance.py", "1 / (rows * p[index])", "1 / p[index]"),
    # samplers
    (DDIM, "var = self.eta**2 * step(t, s).variance", "var = self.eta * step(t, s).variance"),
    (DDIM, "family(p.x0, p.eps, s, var)", "family(p.x0, p.eps, t, var)"),
    (DDIM, "q = family(p.x0, p.eps, s, var)", "q = family(p.eps, p.x0, s, var)"),
    (SAMPLE, "like(torch.exp(prior.log_var / 2), x) * x", "like(torch.exp(prior.log_var), x) * x"),
    ("samplers/ancestral.py", "step = reverse(p, t, s, variance)", "step = reverse(p, t, s, denoiser.variance)"),
    ("langevin.py", "x + step / 2 * score(x)", "x + step * score(x)"),
    ("langevin.py", "step**0.5 * noise()", "step * noise()"),
    ("langevin.py", "(level.sigma / sigmas[-1]).item() ** 2", "(level.sigma / sigmas[-1]).item()"),
    ("langevin.py", "if not bool((sigmas[1:] < sigmas[:-1]).all()):", "if False:"),
    # guidance
    ("guidance/classifier.py", "guide=self.scale * slope", "guide=slope"),
    ("guidance/classifier_free.py", "plain + self.scale * (wanted - plain)", "wanted + self.scale * (wanted - plain)"),
    # metrics
    ("metrics/_statistics.py", "self.scatter / (self.n - 1)", "self.scatter / self.n"),
    ("metrics/_statistics.py", "* (self.n * n / total)", "* (n / total)"),
    ("metrics/_statistics.py", "self.mean + apart * (n / total)", "self.mean + apart / 2"),
    ("metrics/frechet.py", "cov.trace() + other_cov.trace() - 2 * inner", "cov.trace() + other_cov.trace() - inner"),
    ("metrics/frechet.py", "return vectors * values.sqrt() @ vectors.T", "return vectors * values @ vectors.T"),
    ("metrics/frechet.py", "(samples.spatial, reference.spatial)", "(samples.pool, reference.spatial)"),
    ("metrics/kernel.py", "(a @ b.T / a.shape[1] + 1) ** 3", "(a @ b.T + 1) ** 3"),
    ("metrics/kernel.py", "(k.sum() - k.trace())", "k.sum()"),
    ("metrics/kernel.py", "- 2 * kernel(one, other).mean()", "- kernel(one, other).mean()"),
    ("metrics/_splits.py", "self.negentropy / self.count - torch", "self.negentropy / self.count + torch"),
    ("metrics/_splits.py", "self.where[first : first + len(p)]", "self.where[: len(p)]"),
    ("metrics/precision_recall.py", "d.kthvalue(k + 1, dim=1)", "d.kthvalue(k, dim=1)"),
    ("metrics/precision_recall.py", "own = _radii(samples, (k,))[0]", "own = _radii(samples, (robust_k,))[0]"),
    ("metrics/precision_recall.py", "density / (robust_k * len(samples))", "density / (k * len(samples))"),
    ("metrics/precision_recall.py", "nearest = torch.minimum(nearest, d.min(0).values)", "nearest = d.min(0).values"),
    ("metrics/_summary.py", "first + int(bad.nonzero()[0])", "int(bad.nonzero()[0])"),
    ("metrics/_summary.py", "features.pool[: KEEP - first].float()", "features.pool[:KEEP].float()"),
    # evaluation
    ("evaluation/_parts.py", "part * self.size, file.get_tensor", "part, file.get_tensor"),
    ("evaluation/_parts.py", "sum(map(self._wanted, parts)), parts[0] * self.size", "sum(map(self._wanted, parts)), parts[0]"),
    ("evaluation/_parts.py", "if self._rows(part) < self._wanted(part)", "if not self._rows(part)"),
    ("evaluation/_parts.py", '"seed": seed, ', ""),
    ("evaluation/_parts.py", "calls += len(output)", "calls += 1"),
    ("evaluation/_report.py", "n >= 1000 and n % 1000 == 0", "n >= 1000"),
    ("evaluation/_steps_table.py", '{"sampler": DDIM(eta), "clip": False}', '{"sampler": DDIM(eta), "clip": True}'),
    ("evaluation/_steps_table.py", 'Ancestral("fixed_large")', 'Ancestral("fixed_small")'),
    # labels
    ("train/labels.py", "hidden | (labels < 0), self.null", "hidden & (labels < 0), self.null"),
    ("train/labels.py", "places, step, noise.Stream.LABEL", "places, 0, noise.Stream.LABEL"),
    ("train/labels.py", "noise.Stream.LABEL) < self.dropout", "noise.Stream.LABEL) > self.dropout"),
    # mutants that no test can notice
    ("samplers/ancestral.py", "(step.mean if s.is_clean else step.sample(noise()))", "step.sample(noise())",
     "the variance of the step to the clean level is 0 without a chain: the noise is multiplied by 0"),
]  # fmt: skip
