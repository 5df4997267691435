// Two texts word by word: what is the same, what is new, what is gone.

/** The words of `after`, each with whether it is new and which words of `before` it replaces. */
export function compared(before, after) {
  const common = lengths(before, after), words = [];
  let i = 0, j = 0, gone = [];
  while (j < after.length || i < before.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      words.push({ word: after[j++], isNew: false, gone });
      gone = [];
      i++;
    } else if (j < after.length && (i === before.length || common[i][j + 1] >= common[i + 1][j])) {
      words.push({ word: after[j++], isNew: true, gone });
      gone = [];
    } else {
      gone = [...gone, before[i++]];
    }
  }
  return { words, goneAtEnd: gone };
}

/** The length of the longest common sequence of before[i:] and after[j:], for all i and j. */
function lengths(before, after) {
  const table = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      table[i][j] = before[i] === after[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  return table;
}

export const split = (text) => text.split(/\s+/).filter(Boolean);
