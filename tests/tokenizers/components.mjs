// Small tokenizers, one for each way that the parts of a tokenizer.json can be set.

const LETTERS = [...'abcdehilnorst.,!?-<>_|/019 ▁世é\n', '\u0301', '界'];

// All single letters, and merges that make some words.
function characterModel(options) {
  const vocab = { '<unk>': 0 };
  const add = (token) => { if (!(token in vocab)) vocab[token] = Object.keys(vocab).length; };
  if (options.bytes) for (const byte of options.bytes) add('<0x' + byte.toString(16).toUpperCase().padStart(2, '0') + '>');
  const letters = LETTERS.filter((letter) => !(options.without || '').includes(letter));
  letters.forEach(add);
  const merges = [];
  for (const [left, right] of [['t', 'h'], ['th', 'e'], ['▁', 'the'], ['▁', 't'], ['i', 'n'], ['a', 'n'], ['an', 'd'], ['▁', 'and'], ['▁', '▁'], ['▁▁', '▁▁'],
    ['e', 'r'], ['h', 'er'], ['l', 'l'], ['o', 'n'], ['e', '\u0301'], ['世', '界'], ['1', '0'], ['10', '0'], ['!', '!'], [' ', 't'], [' ', ' '], ['.', '▁'], ['\n', '\n'],
    ['s', 't'], ['r', 'e'], ['.', '.'], ['-', '-'], ['--', '--'], ['a', ' '], ['t', '▁a']]) {
    if (!(left in vocab) || !(right in vocab)) continue;
    merges.push(`${left}\u0001${right}`);
    add(left + right);
  }
  return { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false,
    ignore_merges: false, vocab, merges: merges.map((merge) => merge.split('\u0001')), ...options.model };
}

const FUSE = { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }] };
const metaspace = (options) => ({ type: 'Metaspace', replacement: '▁', ...options });
const split = (pattern, behavior, invert = false) => ({ type: 'Split', pattern, behavior, invert });
const sequence = (...pretokenizers) => ({ type: 'Sequence', pretokenizers });

function tokenizer(parts, model = {}) {
  return { version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: FUSE,
    ...parts, model: characterModel(model) };
}

function added(content, options = {}) {
  return { id: 0, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...options };
}

// Numbers the tokens behind the vocabulary.
function withAdded(json, tokens) {
  const vocab = json.model.vocab;
  let next = Object.keys(vocab).length;
  json.added_tokens = tokens.map((token) => ({ ...token, id: token.content in vocab ? vocab[token.content] : next++ }));
  return json;
}

const METASPACE_NORMALIZER = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] };
const ALL_BYTES = [...Array(256).keys()];

function variants() {
  const result = {};
  result.prepend_replace = tokenizer({ normalizer: METASPACE_NORMALIZER });
  for (const scheme of ['always', 'first', 'never']) {
    for (const isSplit of [true, false]) {
      result[`metaspace_${scheme}_${isSplit}`] = withAdded(tokenizer({ pre_tokenizer: metaspace({ prepend_scheme: scheme, split: isSplit }),
        decoder: metaspace({ prepend_scheme: scheme, split: isSplit }) }), [added('<s>')]);
    }
  }
  result.metaspace_old_true = tokenizer({ pre_tokenizer: metaspace({ add_prefix_space: true }), decoder: metaspace({ add_prefix_space: true }) });
  for (const behavior of ['Isolated', 'Removed', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext']) {
    for (const invert of [false, true]) {
      result[`split_${behavior}_${invert}`] = tokenizer({ pre_tokenizer: split({ Regex: '[a-d ]|\\s' }, behavior, invert) });
    }
    result[`split_string_${behavior}`] = tokenizer({ pre_tokenizer: split({ String: ' ' }, behavior) });
  }
  result.split_lines = tokenizer({ pre_tokenizer: sequence(split({ Regex: '^[a-z]+|[a-z.]+$' }, 'Isolated'), split({ Regex: '\\S+' }, 'MergedWithNext')) });
  result.digits = tokenizer({ pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, metaspace({ prepend_scheme: 'first' })) });
  result.digits_together = tokenizer({ pre_tokenizer: { type: 'Digits', individual_digits: false } });
  for (const form of ['NFC', 'NFD', 'NFKC', 'NFKD']) result[form.toLowerCase()] = tokenizer({ normalizer: { type: form } }, { model: { fuse_unk: false } });
  result.replace_regex = tokenizer({ normalizer: { type: 'Replace', pattern: { Regex: '[ ▁]{2,}|\\n' }, content: '▁' } });
  const ignored = tokenizer({ pre_tokenizer: metaspace({}) }, { model: { ignore_merges: true } });
  ignored.model.vocab['▁other'] = Object.keys(ignored.model.vocab).length;
  result.ignore_merges = ignored;
  for (const fuse of [false, true]) {
    result[`unknown_${fuse}`] = tokenizer({ normalizer: METASPACE_NORMALIZER }, { without: 'ae世', model: { fuse_unk: fuse } });
    result[`unknown_none_${fuse}`] = tokenizer({}, { without: 'ar ', model: { fuse_unk: fuse, unk_token: null } });
    result[`fallback_${fuse}`] = tokenizer({ normalizer: METASPACE_NORMALIZER }, { without: 'ae世', bytes: ALL_BYTES, model: { fuse_unk: fuse, byte_fallback: true } });
    result[`fallback_some_${fuse}`] = tokenizer({}, { without: 'a世 ', bytes: ALL_BYTES.slice(0x30), model: { fuse_unk: fuse, byte_fallback: true } });
  }
  const strips = [{}, { lstrip: true }, { rstrip: true }, { lstrip: true, rstrip: true }, { single_word: true }, { single_word: true, lstrip: true, rstrip: true }];
  strips.forEach((options, i) => {
    for (const normalized of [false, true]) {
      result[`added_${i}_${normalized}`] = withAdded(tokenizer({ normalizer: METASPACE_NORMALIZER }),
        [added('<s>', { ...options, normalized }), added('and', { ...options, normalized }), added('é', { ...options, normalized }),
          added('the other', { ...options, normalized }), added(' in', { ...options, normalized }), added('an', { normalized }), added('\n', { ...options, normalized })]);
    }
  });
  result.added_nfkc = withAdded(tokenizer({ normalizer: { type: 'NFKC' } }), [added('ﬁ', { normalized: true }), added('e\u0301', { normalized: true }), added('①')]);
  return result;
}

export function componentTokenizers(texts) {
  const words = ['the', 'and', 'other', 'in', 'an', 'sand', 'é', 'e\u0301', '世界', '世', '<s>', '<s', '100', '10', ' ', '  ', '   ', '\n', '\n\n', '▁', '▁▁', '.', '--', '!!', 'ﬁ',
    '①', ',', 'the other', ' in', 'ß', '_', 'a', 'r', 'X', '😀', '\t', '\u00a0', '\u3000', '\u0323', 'ẛ\u0323', '한', '\u1112\u1161\u11ab', 'and_', 'Ⓐ', '0', 'Å'];
  let state = 12345;
  const below = (n) => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return (state >>> 8) % n; };
  const strings = texts.filter((text, i) => i % 40 === 0);
  for (let i = 0; i < 400; ++i) {
    let text = '';
    for (let n = 1 + below(12); n > 0; --n) text += words[below(words.length)];
    strings.push(text);
  }
  // Since 0.23 `tokenizers` decodes a token that is matched in normalized text to its normalized content, with the prefix that
  // the normalizer puts there; up to 0.22 to its content, as here.
  const decodes = (json) => !json.added_tokens.some((token) => token.normalized);
  return Object.entries(variants()).map(([name, json]) => ({ name: `component_${name}`, json, strings, decodes: decodes(json) }));
}
