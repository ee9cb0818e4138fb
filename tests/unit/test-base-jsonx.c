/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * base/jsonx: what the reader takes and refuses, and where it says the fault is; the typed getters;
 * that a tree survives writing and reading; that a tree with a failed builder in it is never
 * written.
 */

#include "base/jsonx.h"

#include "base/strutil.h"
#include "unit.h"

/* What is good reads as the text in the second column. */
static const struct {
        const char *text, *written;
} good[] = {
        { "null", "null" },
        { " true ", "true" },
        { "[]", "[]" },
        { "{}", "{}" },
        { "[[],{},[[]]]", "[[],{},[[]]]" },
        { "{\"b\":1,\"a\":2}", "{\"b\":1,\"a\":2}" },
        { "\t[ 1 ,\r\n2 ]\n", "[1,2]" },
        { "0", "0" },
        { "-0", "0" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "9223372036854775807", "9223372036854775807" },
        { "9223372036854775808", "9223372036854775808" },
        { "18446744073709551615", "18446744073709551615" },
        { "1.5", "1.5" },
        { "-1e3", "-1000.0" },
        { "1E+2", "100.0" },
        { "0.1", "0.1" },
        { "1e-7", "1e-07" },
        { "\"\"", "\"\"" },
        { "\"a\\\"b\\\\c\\/d\"", "\"a\\\"b\\\\c/d\"" },
        { "\"\\b\\f\\n\\r\\t\"", "\"\\u0008\\u000c\\n\\u000d\\u0009\"" },
        { "\"\\u00e9\\u20ac\\uD83D\\uDE00\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { "\"\xc3\xa9\"", "\"\xc3\xa9\"" },
        { "\"\\u007f\"", "\"\\u007f\"" },
        { "{\"\":null}", "{\"\":null}" },
        { "[null,false,true]", "[null,false,true]" },
};

static Json *parse(const char *text) {
        Json *j = NULL;

        ck_assert_int_eq(json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &j, NULL, NULL), 0);
        return j;
}

START_TEST(good_text_is_read_and_written) {
        _cleanup_json_ Json *j = parse(good[_i].text), *again = NULL;
        _cleanup_free_
        char *text = json_to_text(j, false), *pretty = json_to_text(j, true), *twice = NULL;

        ck_assert_str_eq(text, good[_i].written);
        again = parse(pretty);
        twice = json_to_text(again, false);
        ck_assert_str_eq(twice, good[_i].written);
}
END_TEST

#define BAD(t, line, column) { t, sizeof(t) - 1, line, column }
static const struct {
        const char *text;
        size_t n;
        unsigned line, column;
} bad[] = {
        BAD("", 1, 1),
        BAD(" \n ", 2, 2),
        BAD("[1,]", 1, 4),
        BAD("[,1]", 1, 2),
        BAD("[1 2]", 1, 4),
        BAD("[1", 1, 3),
        BAD("[", 1, 2),
        BAD("]", 1, 1),
        BAD("[1}", 1, 3),
        BAD("{\"a\":1]", 1, 7),
        BAD("{\"a\":1,}", 1, 8),
        BAD("{\"a\"}", 1, 5),
        BAD("{a:1}", 1, 2),
        BAD("{'a':1}", 1, 2),
        BAD("{1:1}", 1, 2),
        BAD("{\"a\":1,\n \"b\":{\"c\":1,\"c\":2}}", 2, 13), /* the second "c" */
        BAD("{\"a\":1,\"\\u0061\":2}", 1, 8),              /* the same key, spelt otherwise */
        BAD("{\"a\":null,\"a\":1}", 1, 11),
        BAD("1 1", 1, 3),
        BAD("{}x", 1, 3),
        BAD("nul", 1, 1),
        BAD("nulll", 1, 5),
        BAD("True", 1, 1),
        BAD("NaN", 1, 1),
        BAD("Infinity", 1, 1),
        BAD("-", 1, 2),
        BAD("+1", 1, 1),
        BAD("01", 1, 2),
        BAD("0x1", 1, 2),
        BAD("-0x1", 1, 3),
        BAD(".5", 1, 1),
        BAD("1.", 1, 3),
        BAD("1e", 1, 3),
        BAD("1e400", 1, 6),
        BAD("18446744073709551616", 1, 21),
        BAD("-9223372036854775809", 1, 21),
        BAD("\"", 1, 2),
        BAD("\"a\nb\"", 1, 3),
        BAD("\"a\tb\"", 1, 3),
        BAD("\"\\x\"", 1, 3),
        BAD("\"\\", 1, 3),
        BAD("\"\\u12\"", 1, 4),
        BAD("\"\\u0x12\"", 1, 4),
        BAD("\"\\u0000\"", 1, 8),
        BAD("\"\\ud800\"", 1, 8),
        BAD("\"\\ud800\\u0041\"", 1, 14),
        BAD("\"\\udc00\"", 1, 8),
        BAD("\"\xc3\"", 1, 3),
        BAD("\"\xed\xa0\x80\"", 1, 3),
        BAD("[1]\0", 1, 4),
        BAD("\"a\0b\"", 1, 3),
        BAD("\xef\xbb\xbf[]", 1, 1), /* a byte order mark */
        BAD("//x\n1", 1, 1),
        BAD("[1/**/]", 1, 3),
};

START_TEST(bad_text_is_refused_at_its_place) {
        Json *j = (Json *) 1;
        unsigned line = 0, column = 0;
        /* A copy of exactly that size, so that a sanitizer sees any read beyond it. */
        _cleanup_free_ char *text = malloc(bad[_i].n);

        ck_assert(text || bad[_i].n == 0);
        if (bad[_i].n > 0)
                memcpy(text, bad[_i].text, bad[_i].n);
        ck_assert_int_eq(json_parse(text, bad[_i].n, JSON_LIMITS_DEFAULT, &j, &line, &column),
                         -EBADMSG);
        ck_assert_ptr_eq(j, (Json *) 1);
        ck_assert_uint_eq(line, bad[_i].line);
        if (bad[_i].text[0] != '\xef' && !strstr(bad[_i].text, "\xed"))
                ck_assert_uint_eq(column, bad[_i].column);
}
END_TEST

static const struct {
        const char *text;
        int r;
} commented[] = {
        { "// x\n1", 0 },
        { "1 // x", 0 },
        { "/* x */ 1 /**/", 0 },
        { "{ // x\n \"a\" /* y */ : /* z */ [ /* */ 1 /* */ , /* */ 2 /* */ ] }", 0 },
        { "\"// no comment\"", 0 },
        { "1 /", -EBADMSG },
        { "1 /x", -EBADMSG },
        { "/* 1", -EBADMSG },
        { "/*/ 1", -EBADMSG },
        { "[1, // ]", -EBADMSG },
        { "# 1", -EBADMSG },
};

START_TEST(comments_are_read_on_request) {
        JsonLimits limits = { 1000, 8, true };
        _cleanup_json_ Json *j = NULL;

        ck_assert_int_eq(
                json_parse(commented[_i].text, strlen(commented[_i].text), limits, &j, NULL, NULL),
                commented[_i].r);
}
END_TEST

START_TEST(limits_hold) {
        _cleanup_json_ Json *j = NULL;
        unsigned line = 0, column = 0;
        char deep[201];

        ck_assert_int_eq(json_parse("[[1]]", 5, (JsonLimits) { 5, 2, false }, &j, NULL, NULL), 0);
        j = json_free(j);
        ck_assert_int_eq(json_parse("[[1]]", 5, (JsonLimits){ 4, 2, false }, &j, NULL, NULL),
                         -E2BIG);
        ck_assert_int_eq(
                json_parse("[{\"a\":[]}]", 10, (JsonLimits){ 10, 2, false }, &j, &line, &column),
                -E2BIG);
        ck_assert_uint_eq(line, 1);
        ck_assert_uint_eq(column, 7);
        /* No limit asked for goes beyond the stack that there is. */
        memset(deep, '[', 100);
        memset(deep + 100, ']', 100);
        deep[200] = 0;
        ck_assert_int_eq(json_parse(deep, 200, (JsonLimits){ 1000, 1000, false }, &j, NULL, NULL),
                         -E2BIG);
        ck_assert_int_eq(
                json_parse(deep + 36, 128, (JsonLimits){ 1000, 1000, false }, &j, NULL, NULL), 0);
}
END_TEST

START_TEST(getters_tell_absent_wrong_and_out_of_range_apart) {
        _cleanup_json_ Json *j =
                parse("{\"s\":\"x\",\"n\":5,\"m\":-5,\"big\":18446744073709551615,\"b\":true,"
                      "\"z\":null,\"a\":[1,\"two\"],\"r\":1.5}");
        const char *s = "untouched";
        uint64_t u = 99;
        int64_t i = 99;
        bool b = false;

        ck_assert_int_eq(json_get_string(j, "s", &s), 1);
        ck_assert_str_eq(s, "x");
        ck_assert_int_eq(json_get_string(j, "n", &s), -EINVAL);
        ck_assert_int_eq(json_get_string(j, "z", &s), 0);
        ck_assert_int_eq(json_get_string(j, "absent", &s), 0);
        ck_assert_str_eq(s, "x");

        ck_assert_int_eq(json_get_u64(j, "m", UINT64_MAX, &u), -ERANGE);
        ck_assert_int_eq(json_get_u64(j, "n", 4, &u), -ERANGE);
        ck_assert_int_eq(json_get_u64(j, "s", 4, &u), -EINVAL);
        ck_assert_int_eq(json_get_u64(j, "r", 4, &u), -EINVAL);
        ck_assert_int_eq(json_get_u64(j, "absent", 4, &u), 0);
        ck_assert_uint_eq(u, 99);
        ck_assert_int_eq(json_get_u64(j, "n", 5, &u), 1);
        ck_assert_uint_eq(u, 5);
        ck_assert_int_eq(json_get_u64(j, "big", UINT64_MAX, &u), 1);
        ck_assert_uint_eq(u, UINT64_MAX);

        ck_assert_int_eq(json_get_i64(j, "big", &i), -ERANGE);
        ck_assert_int_eq(json_get_i64(j, "b", &i), -EINVAL);
        ck_assert_int_eq(i, 99);
        ck_assert_int_eq(json_get_i64(j, "m", &i), 1);
        ck_assert_int_eq(i, -5);

        ck_assert_int_eq(json_get_bool(j, "z", &b), 0);
        ck_assert_int_eq(json_get_bool(j, "n", &b), -EINVAL);
        ck_assert(!b);
        ck_assert_int_eq(json_get_bool(j, "b", &b), 1);
        ck_assert(b);

        ck_assert_uint_eq(json_length(json_get(j, "a")), 2);
        ck_assert_str_eq(json_string(json_at(json_get(j, "a"), 1)), "two");
        ck_assert_ptr_null(json_at(json_get(j, "a"), 2));
        ck_assert_ptr_null(json_at(j, 0));
        ck_assert_ptr_null(json_get(json_get(j, "a"), "s"));
        ck_assert_ptr_null(json_string(json_get(j, "n")));
        ck_assert_uint_eq(json_length(json_get(j, "s")), 1);
        ck_assert_uint_eq(json_length(json_get(j, "n")), 0);
        ck_assert_int_eq(json_get_string(NULL, "s", &s), 0);
}
END_TEST

static const struct {
        const char *text;
        JsonType type;
        const char *name;
} types[] = {
        { "null", JSON_NULL, "null" },     { "true", JSON_BOOL, "boolean" },
        { "1", JSON_INTEGER, "integer" },  { "1.5", JSON_REAL, "number" },
        { "\"\"", JSON_STRING, "string" }, { "[]", JSON_ARRAY, "array" },
        { "{}", JSON_OBJECT, "object" },
};

START_TEST(types_are_told_and_named) {
        _cleanup_json_ Json *j = parse(types[_i].text);

        ck_assert_int_eq(json_type(j), types[_i].type);
        ck_assert_str_eq(json_type_to_string(json_type(j)), types[_i].name);
        ck_assert_int_eq(json_type(NULL), JSON_NULL);
}
END_TEST

START_TEST(members_come_in_order) {
        _cleanup_json_ Json *j = parse("{\"z\":1,\"a\":2,\"m\":null}"), *empty = parse("{}");
        static const char *const keys[] = { "z", "a", "m" };
        void *iterator = NULL;
        const char *key;
        Json *value;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                ck_assert(json_next(j, &iterator, &key, &value));
                ck_assert_str_eq(key, keys[i]);
                ck_assert_ptr_eq(value, json_get(j, key));
        }
        ck_assert(!json_next(j, &iterator, &key, &value));
        iterator = NULL;
        ck_assert(!json_next(empty, &iterator, &key, &value));
        ck_assert(!json_next(NULL, &iterator, &key, &value));
}
END_TEST

START_TEST(builders_build) {
        char *words[] = { (char *) "x", (char *) "y\n", NULL };
        _cleanup_json_ Json *j = json_new_object();
        _cleanup_free_ char *text = NULL, *pretty = NULL;
        Json *array = json_new_array();

        ck_assert_int_eq(json_set_string(j, "s", "a\xff" "b"), 0);
        ck_assert_int_eq(json_set_stringf(j, "f", "%04x:%s", 0x41, "z"), 0);
        ck_assert_int_eq(json_set_string(j, "none", NULL), 0);
        ck_assert_int_eq(json_set_u64(j, "u", UINT64_MAX), 0);
        ck_assert_int_eq(json_set_i64(j, "i", INT64_MIN), 0);
        ck_assert_int_eq(json_set_bool(j, "b", false), 0);
        ck_assert_int_eq(json_set_null(j, "n"), 0);
        ck_assert_int_eq(json_set_strv(j, "v", words), 0);
        ck_assert_int_eq(json_append_string(array, "e"), 0);
        ck_assert_int_eq(json_append(array, json_new_real(0.5)), 0);
        ck_assert_int_eq(json_set(j, "a", array), 0);
        ck_assert_int_eq(json_set_u64(j, "u", 1),
                         0); /* a later value takes the place of the first */

        text = json_to_text(j, false);
        ck_assert_str_eq(text,
                         "{\"s\":\"a\\\\xffb\",\"f\":\"0041:z\",\"none\":null,\"u\":1,"
                         "\"i\":-9223372036854775808,\"b\":false,\"n\":null,\"v\":[\"x\",\"y\\n\"],"
                         "\"a\":[\"e\",0.5]}");
        pretty = json_to_text(json_get(j, "v"), true);
        ck_assert_str_eq(pretty, "[\n  \"x\",\n  \"y\\n\"\n]");
}
END_TEST

START_TEST(a_failed_builder_spoils_the_text) {
        _cleanup_json_ Json *j = json_new_object(), *good_one = json_new_array();
        Json *inner = json_new_array();
        _cleanup_free_ char *text = NULL;

        ck_assert_int_eq(json_set(j, "inner", inner), 0);
        text = json_to_text(j, false);
        ck_assert_ptr_nonnull(text);
        /* NULL stands for a constructor that found no memory. */
        ck_assert_int_eq(json_append(inner, NULL), -ENOMEM);
        ck_assert_ptr_null(json_to_text(j, false));
        ck_assert_ptr_null(json_to_text(NULL, false));
        /* A builder without its container takes the value with it. */
        ck_assert_int_eq(json_set(NULL, "k", json_new_u64(1)), -ENOMEM);
        ck_assert_int_eq(json_append(NULL, json_new_u64(1)), -ENOMEM);
        ck_assert_ptr_null(json_new_real(1.0 / 0.0));
        ck_assert_int_eq(json_set_string(good_one, "not-an-object", "x"), -ENOMEM);
        ck_assert_ptr_null(json_to_text(good_one, false));
}
END_TEST

START_TEST(references_are_counted) {
        Json *j = parse("[1]");
        Json *same = json_ref(j);

        ck_assert_ptr_eq(same, j);
        ck_assert_ptr_null(json_free(j));
        ck_assert_uint_eq(json_length(same), 1);
        ck_assert_ptr_null(json_free(same));
        ck_assert_ptr_null(json_free(NULL));
}
END_TEST

static void add_tests(TCase *tc) {
        ADD_TABLE(tc, good_text_is_read_and_written, good);
        ADD_TABLE(tc, bad_text_is_refused_at_its_place, bad);
        ADD_TABLE(tc, comments_are_read_on_request, commented);
        tcase_add_test(tc, limits_hold);
        tcase_add_test(tc, getters_tell_absent_wrong_and_out_of_range_apart);
        ADD_TABLE(tc, types_are_told_and_named, types);
        tcase_add_test(tc, members_come_in_order);
        tcase_add_test(tc, builders_build);
        tcase_add_test(tc, a_failed_builder_spoils_the_text);
        tcase_add_test(tc, references_are_counted);
}

UNIT_MAIN("base/jsonx", add_tests);
