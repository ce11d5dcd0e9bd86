package resolve

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token of a query is.
type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenSign               // one of ( ) | , ! { }
	tokenOperator           // one of << < <= > >> >= = % ~
	tokenString             // anything else, quoted or not
)

// token is one word of a query.
type token struct {
	kind   tokenKind
	text   string // without quotes
	quoted bool
	at     int // byte offset
}

// signs end an unquoted string. aptly's lexer forgets the opening
// parenthesis, so that "nginx(>= 1.0)" is no condition there.
const signs = "(){}|,!"

// lexer cuts a query into tokens.
type lexer struct {
	text string
	pos  int
}

// next reads a token; in a condition, operators are told from strings.
func (l *lexer) next(operators bool) (token, error) {
	l.pos += len(l.text[l.pos:]) - len(strings.TrimLeft(l.text[l.pos:], " \t\r\n\f\v"))
	at := l.pos
	if at == len(l.text) {
		return token{kind: tokenEnd, at: at}, nil
	}
	c := l.text[at]
	switch {
	case strings.IndexByte(signs, c) >= 0:
		l.pos++
		return token{kind: tokenSign, text: l.text[at:l.pos], at: at}, nil
	case operators && strings.IndexByte("<>=%~", c) >= 0:
		l.pos++
		if l.pos < len(l.text) && (c == '<' || c == '>') && (l.text[l.pos] == c || l.text[l.pos] == '=') {
			l.pos++
		}
		return token{kind: tokenOperator, text: l.text[at:l.pos], at: at}, nil
	case c == '"' || c == '\'':
		return l.quoted(c)
	}
	for l.pos < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.pos:])
		if strings.ContainsRune(" \t\r\n\f\v"+signs, r) {
			break
		}
		l.pos += n
	}
	return token{kind: tokenString, text: l.text[at:l.pos], at: at}, nil
}

// quoted reads a string in quotes; a backslash takes the next character as it is.
func (l *lexer) quoted(quote byte) (token, error) {
	at := l.pos
	var b strings.Builder
	for i := at + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == quote:
			l.pos = i + 1
			return token{kind: tokenString, text: b.String(), quoted: true, at: at}, nil
		case c == '\\' && i+1 < len(l.text):
			i++
			b.WriteByte(l.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return token{}, queryError(l.text, at, "quote that is not closed")
}
