// Strings to try tokenizers on, of every kind that has broken one: the same for the same seed.

// A small generator of random numbers (xorshift32), so that a seed gives the same strings anywhere.
class Random {
  constructor(seed) {
    this.state = seed >>> 0 || 1;
  }
  below(n) {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    this.state >>>= 0;
    return this.state % n;
  }
  of(list) {
    return list[this.below(list.length)];
  }
}

const WORDS = ('the of and a in is it you that he was for on are with as I his they be at one have this from or had by ' +
  'hot but some what there we can out other were all your when up use word how said an each she which do their time if ' +
  'will way about many then them would write like so these her long make thing see him two has look more day could go ' +
  'come did my sound no most number who over know water than call first people may down side been now find any new work ' +
  'Woodhouse handsome clever rich comfortable disposition unite blessings existence lived nearly twenty-one ' +
  'unbelievably antidisestablishmentarianism internationalization').split(' ');
const CONTRACTIONS = ["don't", "I'LL", "we've", "it's", "'tis", "they'Re", "you'd", "'S", "'ve", "'m", "o’clock", "it’s", "''s",
  "'\u017f", "d'être", "'llama"];
const CODE = ['def f(x):\n    return x ** 2\n', 'for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n', 'std::vector<int>&& v', '=>',
  '#include <stdio.h>\n', 'SELECT * FROM t WHERE id=42;', '</div>\n', 'const x = {"a": [1,2.5e-3]};', '\r\n', '    ', '\t\t', '__init__',
  'camelCaseName', 'snake_case_name', 'http://example.org/a?b=c&d=%20', '/* … */', '<!-- -->', '\\n', '$HOME/.config', '0xDEADBEEF', '!=',
  '&&', '||', '...', '-->', '```python\n', '@decorator', '~/x', '{{', '}}', '[[', ']]', ');', '();\n\n'];
const SCRIPTS = [
  ['世', '界', '你', '好', '的', '是', '不', '我', '漢', '字', '龍', '、', '。', '「', '」', '，', '𠮷', '𡃁', '㐂'],
  ['こ', 'ん', 'に', 'ち', 'は', 'カ', 'タ', 'ナ', 'ー', 'ゝ', 'ｶ', 'ﾞ', 'が', 'か\u3099', '々'],
  ['안', '녕', '하', '세', '요', '한', '글', '\u1112\u1161\u11ab', 'ㅋ', 'ㅠ'],
  ['ال', 'سلام', 'عليكم', ' ', 'مَرْحَبًا', 'لا', 'ﷺ', '٣', '٤', '؟', '\u0640'],
  ['नमस्ते', ' ', 'हिन्दी', 'क्ष', '१२', '।', 'ज़', 'ড়', 'தமிழ்'],
  ['สวัสดี', 'ครับ', 'ภาษา', 'ไทย', '๑๒', 'ๆ', ' '],
  ['Привет', ' ', 'мир', 'Ёлка', 'йод', 'и\u0306', '№', 'Київ'],
  ['Ελληνικά', ' ', 'ὀδυσσεύς', 'ΐ', 'ς'],
  ['שלום', ' ', 'עוֹלָם', '״'],
  ['é', 'e\u0301', 'Å', 'A\u030A', '\u212B', 'ñ', 'ǖ', 'ü\u0304', 'ệ', 'e\u0323\u0302', 'e\u0302\u0323', 'ﬁ', 'ß', 'İ', 'ı', 'ſ', 'Ĳ',
    '\u1E9B\u0323', 'q\u0307\u0323', 'q\u0323\u0307'],
  ['Zürich', ' ', 'naïve', 'Łódź', 'smörgåsbord', 'Đặng', 'œuvre', 'Þór', 'façade'],
];
const EMOJI = ['😀', '👍🏽', '👨‍👩‍👧‍👦', '🇩🇪', '❤️', '☺', '🏳️‍🌈', '1️⃣', '🫠', '✈', '™', '🤷🏿‍♀️', '\u200d', '\ufe0f'];
const NUMBERS = ['0', '7', '42', '123', '1234', '12345', '3.14159', '1,000,000', '２０２４', '½', 'Ⅷ', '²', '①', '٠١٢', '6.02e23', '00012'];
const BLANKS = [' ', '  ', '   ', '     ', '\n', '\n\n', '\n\n\n', '\r\n', '\t', ' \n', '\n ', '  \n  \n', '\u00a0', '\u3000', '\u2003', '\u2028',
  '\u200b', '\u180e', '\v', '\f', ' \t ', '                                ', '\u1680'];
const PUNCTUATION = ['.', ',', '!', '?!', '…', '—', '“', '”', "'", '"', '(', ')', '«', '»', '¿', '*', '***', '----', '====', '/', '\\', '%', '€',
  '$', '^', '`', '~', '▁', '▁▁', 'Ġ', 'Ċ', '\ufffd', '\u0000', '\u0007', '\u001b[0m', '\u007f', '\u00ad', '\u0300'];
const SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|im_start', '<think>', '</think>', '<tool_call>', '<|begin_of_text|>',
  '<|eot_id|>', '<|start_header_id|>', '<|reserved_special_token_17|>', '<s>', '</s>', '<unk>', '<0x41>', '<0x0A>', '[INST]', ' [/INST] ',
  '<|im_end|><|im_end|>', '<|end_of_text|> ', '<pad>', '<bos>', '<start_of_turn>'];
// Letters and marks that all Unicode versions in use know.
const RANGES = [[0x20, 0x7e], [0xa0, 0x24f], [0x300, 0x36f], [0x400, 0x45f], [0x5d0, 0x5ea], [0x621, 0x652], [0x905, 0x939], [0x93c, 0x94d],
  [0xe01, 0xe3a], [0x1100, 0x1112], [0x1161, 0x1175], [0x11a8, 0x11c2], [0x1e00, 0x1eff], [0x2010, 0x2027], [0x2190, 0x21ff], [0x3041, 0x3096],
  [0x30a1, 0x30fa], [0x4e00, 0x9fa5], [0xac00, 0xd7a3], [0xf900, 0xfa0d], [0xff01, 0xff5e], [0x1d400, 0x1d454], [0x1f300, 0x1f5ff], [0x20000, 0x2a6d6]];

function piece(random) {
  switch (random.below(12)) {
    case 0: return random.of(WORDS);
    case 1: return ' ' + random.of(WORDS);
    case 2: return random.of(CONTRACTIONS);
    case 3: return random.of(CODE);
    case 4: { const script = random.of(SCRIPTS); let s = ''; for (let n = 1 + random.below(6); n > 0; --n) s += random.of(script); return s; }
    case 5: return random.of(EMOJI);
    case 6: return random.of(NUMBERS);
    case 7: return random.of(BLANKS);
    case 8: return random.of(PUNCTUATION);
    case 9: { const [from, to] = random.of(RANGES); let s = ''; for (let n = 1 + random.below(8); n > 0; --n) s += String.fromCodePoint(from + random.below(to - from + 1)); return s; }
    case 10: return random.of(WORDS).toUpperCase();
    default: return random.below(3) === 0 ? random.of(SPECIAL) : ' ' + random.of(WORDS);
  }
}

// Bytes that are mostly no UTF-8, as a decoder shows them: with U+FFFD.
function replaced(random) {
  const bytes = [];
  for (let n = 1 + random.below(24); n > 0; --n) bytes.push(random.below(4) === 0 ? random.below(256) : 0xc0 + random.below(64));
  return new TextDecoder('utf-8').decode(new Uint8Array(bytes));
}

export function makeTexts(count, seed) {
  const random = new Random(seed);
  const texts = ['', ' ', '  ', '\n', 'a', '世', '😀', '\ufffd', '<s>', '<|im_start|>', '▁', ...WORDS, ...CONTRACTIONS, ...CODE, ...SCRIPTS.flat(),
    ...EMOJI, ...NUMBERS, ...BLANKS, ...PUNCTUATION, ...SPECIAL];
  while (texts.length < count) {
    const kind = random.below(20);
    let text = '';
    if (kind === 0) {
      text = replaced(random);
    } else if (kind === 1) {  // one kind of thing, many times
      const unit = piece(random);
      for (let n = 1 + random.below(60); n > 0; --n) text += unit;
    } else if (kind < 12) {  // prose-like
      for (let n = 1 + random.below(20); n > 0; --n) text += random.below(4) === 0 ? piece(random) : ' ' + random.of(WORDS);
    } else {
      for (let n = 1 + random.below(14); n > 0; --n) text += piece(random);
    }
    texts.push(text);
  }
  return texts;
}
