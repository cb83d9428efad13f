const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'] as const;

/** `301.0 KB`; 1 KB is 1,024 bytes, as in `mini_batch_size`. */
export function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  // What would be told as 1024.0 of a unit is 1 of the next.
  while (value >= 1_023.95 && unit < units.length - 1) [value, unit] = [value / 1_024, unit + 1];
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
