// Runs before anything is drawn, so nothing flashes: sets the chosen theme, if any.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* the browser allows no storage */ }
