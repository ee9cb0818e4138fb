/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * base/strutil: numbers at their limits, UTF-8 by the rules of RFC 3629, globs, buffers, vectors,
 * checksums.
 */

#include "base/strutil.h"

#include "unit.h"

static const struct {
        const char *text;
        unsigned base;
        uint64_t max;
        int r;
        uint64_t value;
} numbers[] = {
        { "0", 10, UINT64_MAX, 0, 0 },
        { "18446744073709551615", 10, UINT64_MAX, 0, UINT64_MAX },
        { "18446744073709551616", 10, UINT64_MAX, -ERANGE, 0 },
        { "99999999999999999999999999999", 10, UINT64_MAX, -ERANGE, 0 },
        { "99999999999999999999999999999x", 10, UINT64_MAX, -EINVAL, 0 },
        { "255", 10, 255, 0, 255 },
        { "256", 10, 255, -ERANGE, 0 },
        { "007", 10, 10, 0, 7 },
        { "ff", 16, 255, 0, 255 },
        { "0xFf", 16, 255, 0, 255 },
        { "0Xff", 16, 255, 0, 255 },
        { "ffffffffffffffff", 16, UINT64_MAX, 0, UINT64_MAX },
        { "10000000000000000", 16, UINT64_MAX, -ERANGE, 0 },
        { "0x10", 0, UINT64_MAX, 0, 16 },
        { "010", 0, UINT64_MAX, 0, 10 },
        { "0x10", 10, UINT64_MAX, -EINVAL, 0 },
        { "0x", 16, UINT64_MAX, -EINVAL, 0 },
        { "0x0x1", 16, UINT64_MAX, -EINVAL, 0 },
        { "", 10, UINT64_MAX, -EINVAL, 0 },
        { NULL, 10, UINT64_MAX, -EINVAL, 0 },
        { " 1", 10, UINT64_MAX, -EINVAL, 0 },
        { "1 ", 10, UINT64_MAX, -EINVAL, 0 },
        { "1\n", 10, UINT64_MAX, -EINVAL, 0 },
        { "-1", 10, UINT64_MAX, -EINVAL, 0 },
        { "+1", 10, UINT64_MAX, -EINVAL, 0 },
        { "1.0", 10, UINT64_MAX, -EINVAL, 0 },
        { "fg", 16, UINT64_MAX, -EINVAL, 0 },
};

START_TEST(number_is_parsed_whole_or_refused) {
        uint64_t v = 4711;

        ck_assert_int_eq(parse_u64(numbers[_i].text, numbers[_i].base, numbers[_i].max, &v),
                         numbers[_i].r);
        ck_assert_uint_eq(v, numbers[_i].r < 0 ? 4711 : numbers[_i].value);
}
END_TEST

START_TEST(number_of_given_length_ends_there) {
        uint64_t v = 4711;
        uint32_t w = 4711;

        ck_assert_int_eq(parse_u64_n("123x", 3, 10, UINT64_MAX, &v), 0);
        ck_assert_uint_eq(v, 123);
        ck_assert_int_eq(parse_u64_n("123x", 0, 10, UINT64_MAX, &v), -EINVAL);
        ck_assert_int_eq(parse_u64_n("1\0002", 3, 10, UINT64_MAX, &v), -EINVAL);
        ck_assert_int_eq(parse_u32("4294967295", 10, UINT32_MAX, &w), 0);
        ck_assert_uint_eq(w, UINT32_MAX);
        ck_assert_int_eq(parse_u32("4294967296", 10, UINT32_MAX, &w), -ERANGE);
        ck_assert_uint_eq(w, UINT32_MAX);
}
END_TEST

static const struct {
        const char *text;
        int r;
        bool value;
} booleans[] = {
        { "1", 0, true },          { "yes", 0, true },       { "true", 0, true },
        { "on", 0, true },         { "0", 0, false },        { "no", 0, false },
        { "off", 0, false },       { "false", 0, false },    { "", -EINVAL, false },
        { "Yes", -EINVAL, false }, { NULL, -EINVAL, false },
};

START_TEST(boolean_has_eight_spellings) {
        bool v = !booleans[_i].value;

        ck_assert_int_eq(parse_bool(booleans[_i].text, &v), booleans[_i].r);
        ck_assert_int_eq(v, booleans[_i].r < 0 ? !booleans[_i].value : booleans[_i].value);
}
END_TEST

static const struct {
        const char *text;
        bool valid, safe;
        const char *escaped;
} texts[] = {
        { "plain", true, true, "plain" },
        { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", true, true,
          "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\xf4\x8f\xbf\xbf", true, true, "\xf4\x8f\xbf\xbf" },
        { "", true, false, "" },
        { "a\nb", true, false, "a\\x0ab" },
        { "\x1b[31m", true, false, "\\x1b[31m" },
        { "\x7f", true, false, "\\x7f" },
        { "\xc2\x9b"
          "2J",
          true, false, "\\xc2\\x9b2J" }, /* C1 control sequence introducer */
        { "a\xe2\x80\xae"
          "b",
          true, false, "a\\xe2\\x80\\xaeb" },                         /* right-to-left override */
        { "\xc0\xaf", false, false, "\\xc0\\xaf" },                   /* overlong */
        { "\xe0\x80\xaf", false, false, "\\xe0\\x80\\xaf" },          /* overlong */
        { "\xed\xa0\x80", false, false, "\\xed\\xa0\\x80" },          /* surrogate */
        { "\xf4\x90\x80\x80", false, false, "\\xf4\\x90\\x80\\x80" }, /* above U+10FFFF */
        { "\xf8\x88\x80\x80\x80", false, false, "\\xf8\\x88\\x80\\x80\\x80" },
        { "\x80", false, false, "\\x80" },
        { "\xe2\x82", false, false, "\\xe2\\x82" }, /* cut */
        { "\xc3(", false, false, "\\xc3(" },
};

START_TEST(text_is_checked_and_escaped) {
        _cleanup_free_ char *escaped = string_escape(texts[_i].text);

        ck_assert_int_eq(utf8_is_valid(texts[_i].text, strlen(texts[_i].text)), texts[_i].valid);
        ck_assert_int_eq(string_is_safe(texts[_i].text, 100), texts[_i].safe);
        ck_assert_str_eq(escaped, texts[_i].escaped);
}
END_TEST

START_TEST(safe_text_has_a_length_limit) {
        ck_assert(string_is_safe("four", 4));
        ck_assert(!string_is_safe("five5", 4));
        ck_assert(!string_is_safe(NULL, 4));
        /* A limit in the middle of a character does not make the rest of it safe. */
        ck_assert(!string_is_safe("ab\xc3\xa9", 3));
}
END_TEST

static const struct {
        const char *pattern, *text;
        bool matches;
} globs[] = {
        { "", "", true },
        { "", "a", false },
        { "*", "", true },
        { "**", "anything", true },
        { "a*c", "abbbc", true },
        { "a*c", "abbb", false },
        { "*.0", "0000:41:00.0", true },
        { "0000:4[12]:*", "0000:42:00.0", true },
        { "0000:4[12]:*", "0000:43:00.0", false },
        { "[!a-c]x", "dx", true },
        { "[!a-c]x", "bx", false },
        { "[^a-c]x", "bx", false },
        { "[]]", "]", true },
        { "[]x]", "x", true },
        { "[a-]", "-", true },
        { "[ab", "[ab", true },
        { "[ab", "a", false },
        { "?", "x", true },
        { "?", "", false },
        { "?*?", "x", false },
        { "a*b*c*d", "a-b-b-c-c-d", true },
        { "a*b*c*d", "a-c-b-d", false },
        { "*ab", "aab", true },
        { "x", "X", false },
};

START_TEST(glob_matches_whole_text) {
        ck_assert_int_eq(glob_matches(globs[_i].pattern, globs[_i].text), globs[_i].matches);
}
END_TEST

/* A pattern that makes a recursive matcher run for ages. */
START_TEST(glob_cannot_be_made_to_explode) {
        char text[4001], pattern[201];

        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        for (size_t i = 0; i < sizeof(pattern) - 1; i += 2)
                memcpy(&pattern[i], "*a", 2);
        pattern[sizeof(pattern) - 2] = 'b';
        pattern[sizeof(pattern) - 1] = 0;
        ck_assert(!glob_matches(pattern, text));
}
END_TEST

START_TEST(strings_are_stripped_copied_and_replaced) {
        char blank[] = " \t a b\n\r ", empty[] = "  ", to[4];
        _cleanup_free_ char *p = NULL;
        _cleanup_free_ char *joined = strjoinf("%s-%d", "x", 7);

        ck_assert_str_eq(string_strip(blank), "a b");
        ck_assert_str_eq(string_strip(empty), "");
        ck_assert(string_copy(to, sizeof(to), "abc"));
        ck_assert_str_eq(to, "abc");
        ck_assert(!string_copy(to, sizeof(to), "wxyz"));
        ck_assert_str_eq(to, "wxy");
        ck_assert_int_eq(free_and_strdup(&p, "one"), 0);
        ck_assert_str_eq(p, "one");
        ck_assert_int_eq(free_and_strdup(&p, p), 0);
        ck_assert_str_eq(p, "one");
        ck_assert_int_eq(free_and_strdup(&p, NULL), 0);
        ck_assert_ptr_null(p);
        ck_assert_str_eq(joined, "x-7");
}
END_TEST

START_TEST(buffer_grows_and_stays_terminated) {
        StrBuf b = {};
        _cleanup_free_ char *s = NULL, *none = NULL;

        for (unsigned i = 0; i < 1000; i++) {
                strbuf_addf(&b, "%u,", i);
                ck_assert_uint_eq(b.size, strlen(b.data));
        }
        strbuf_add_n(&b, "tail-cut", 4);
        s = strbuf_steal(&b);
        ck_assert_uint_eq(strlen(s), 10 * 2 + 90 * 3 + 900 * 4 + 4);
        ck_assert_str_eq(s + strlen(s) - 8, "999,tail");
        ck_assert_ptr_null(b.data);
        none = strbuf_steal(&b);
        ck_assert_str_eq(none, "");
}
END_TEST

START_TEST(buffer_keeps_its_error) {
        StrBuf b = { .error = -ENOMEM };

        strbuf_add(&b, "lost");
        strbuf_addf(&b, "%d", 1);
        ck_assert_uint_eq(b.size, 0);
        ck_assert_ptr_null(strbuf_steal(&b));
        ck_assert_int_eq(b.error, 0);
}
END_TEST

START_TEST(buffer_refuses_absurd_sizes) {
        StrBuf b = {};

        strbuf_add_n(&b, "x", 1);
        /* The data is not touched when the size cannot be. */
        strbuf_add_n(&b, "x", SIZE_MAX - 1);
        ck_assert_int_eq(b.error, -ENOMEM);
        strbuf_done(&b);
}
END_TEST

static const struct {
        const char *text, *separators, *joined;
        size_t n;
} splits[] = {
        { "", " ", "", 0 },
        { "   ", " ", "", 0 },
        { "one", " ", "one", 1 },
        { " one  two ", " ", "one|two", 2 },
        { "a,b;c", ",;", "a|b|c", 3 },
        { "1 2 3 4 5 6 7 8 9", " ", "1|2|3|4|5|6|7|8|9", 9 },
};

START_TEST(text_is_split_and_joined) {
        _cleanup_strv_ char **v = NULL, **copy = NULL;
        _cleanup_free_ char *joined = NULL;

        ck_assert_int_eq(strv_split(splits[_i].text, splits[_i].separators, &v), 0);
        ck_assert_uint_eq(strv_length(v), splits[_i].n);
        ck_assert_int_eq(strv_copy(v, &copy), 0);
        joined = strv_join(copy, "|");
        ck_assert_str_eq(joined, splits[_i].joined);
        /* A copy has room for what it holds only; it must grow. */
        ck_assert_int_eq(strv_extend(&copy, "more"), 0);
        ck_assert_uint_eq(strv_length(copy), splits[_i].n + 1);
        ck_assert(strv_contains(copy, "more"));
        ck_assert(!strv_contains(v, "more"));
}
END_TEST

START_TEST(vector_of_nothing_is_usable) {
        _cleanup_strv_ char **v = NULL;
        _cleanup_free_ char *joined = strv_join(NULL, ",");

        ck_assert_uint_eq(strv_length(NULL), 0);
        ck_assert(!strv_contains(NULL, "x"));
        ck_assert_str_eq(joined, "");
        for (unsigned i = 0; i < 20; i++)
                ck_assert_int_eq(strv_extend(&v, i % 2 ? "b" : "a"), 0);
        strv_sort(v);
        ck_assert_str_eq(v[0], "a");
        ck_assert_str_eq(v[9], "a");
        ck_assert_str_eq(v[10], "b");
        ck_assert_ptr_null(v[20]);
        strv_sort(NULL);
}
END_TEST

START_TEST(checksums_have_their_published_values) {
        /* RFC 3720, B.4; and the check values of the CRC catalogue and of FNV-1a. */
        uint8_t zeros[32] = {}, ones[32];

        memset(ones, 0xff, sizeof(ones));
        ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
        ck_assert_uint_eq(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aa);
        ck_assert_uint_eq(crc32c(0, ones, sizeof(ones)), 0x62a8ab43);
        ck_assert_uint_eq(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
        ck_assert_uint_eq(crc32c(0, NULL, 0), 0);
        ck_assert_uint_eq(hash_bytes(HASH_INIT, "", 0), HASH_INIT);
        ck_assert_uint_eq(hash_bytes(HASH_INIT, "foobar", 6), UINT64_C(0x85944171f73967e8));
}
END_TEST

static void add_tests(TCase *tc) {
        ADD_TABLE(tc, number_is_parsed_whole_or_refused, numbers);
        tcase_add_test(tc, number_of_given_length_ends_there);
        ADD_TABLE(tc, boolean_has_eight_spellings, booleans);
        ADD_TABLE(tc, text_is_checked_and_escaped, texts);
        tcase_add_test(tc, safe_text_has_a_length_limit);
        ADD_TABLE(tc, glob_matches_whole_text, globs);
        tcase_add_test(tc, glob_cannot_be_made_to_explode);
        tcase_add_test(tc, strings_are_stripped_copied_and_replaced);
        tcase_add_test(tc, buffer_grows_and_stays_terminated);
        tcase_add_test(tc, buffer_keeps_its_error);
        tcase_add_test(tc, buffer_refuses_absurd_sizes);
        ADD_TABLE(tc, text_is_split_and_joined, splits);
        tcase_add_test(tc, vector_of_nothing_is_usable);
        tcase_add_test(tc, checksums_have_their_published_values);
}

UNIT_MAIN("base/strutil", add_tests);
