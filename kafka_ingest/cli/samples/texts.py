"""What the sample messages talk about."""

from __future__ import annotations

from typing import NamedTuple


class Story(NamedTuple):
    """A piece of news: `{}` in the title takes the subject."""

    language: str
    title: str
    body: str


class Outlet(NamedTuple):
    """Who publishes."""

    name: str
    host: str


class Issuer(NamedTuple):
    """A listed company (invented)."""

    company: str
    code: str


STORIES: tuple[Story, ...] = (
    Story(
        "en", "{} raises its full-year outlook after a strong quarter", "Revenue grew in all regions, the company said."
    ),
    Story(
        "en",
        'Analysts split over {}\'s "transformation" plan',
        "Three of five analysts keep their rating; O'Neill & Co. does not.",
    ),
    Story(
        "zh",
        "{}发布三季度报告，净利润同比增长18%",
        "公司表示，增长主要来自海外市场；董事会同意每10股派发现金红利2.5元。",
    ),
    Story("zh", "快讯：{}与多家银行签署战略合作协议", "协议期限三年，涉及授信额度约120亿元人民币。"),
    Story("ar", "{} تعلن عن نتائج الربع الثالث", "ارتفعت الإيرادات بنسبة ١٢٪ مقارنة بالعام الماضي، وفقًا لبيان الشركة."),
    Story("ja", "{}、新工場の建設を正式発表", "投資額は約500億円、来年春に着工する予定。"),
    Story("ru", "{} объявляет о выкупе акций", "Совет директоров одобрил программу на сумму до 3 млрд рублей."),
    Story(
        "de",
        "{} prüft Übernahme – Größe „überschaubar“",
        "Über den Kaufpreis wurde Stillschweigen vereinbart.\nDie Börse reagierte verhalten.",
    ),
    Story("hi", "{} ने नई नीति की घोषणा की", "कंपनी ने कहा कि यह योजना अगले महीने से लागू होगी।"),
    Story("ko", "{}, 차세대 배터리 공개 🔋", "업계 최초로 10분 충전을 지원한다고 밝혔다."),
    Story("he", "{} מדווחת על צמיחה שיא", "ההנהלה העלתה את התחזית לשנה הבאה."),
    Story(
        "en",
        "🚀 {} to the moon? Traders go wild 👩‍🚀🇨🇭",
        'Posts with 🚀🚀🚀 tripled overnight; path C:\\news\\today, tab\there, 100% "sure".',
    ),
)

SUBJECTS: tuple[str, ...] = (
    "Aurora Semiconductor", "北方新能源", "Kestrel Airlines", "海蓝生物", "شركة النور", "Nordlicht AG", "Лада Софт",
    "Tideway & Sons", "晨星物流", "ひかり電機", "L'Étoile S.A.", "Đông Á Textiles",
)  # fmt: skip

OUTLETS: tuple[Outlet, ...] = (
    Outlet("Harbour Wire", "harbourwire.example"),
    Outlet("东方财讯", "df-news.example"),
    Outlet("Le Courrier du Soir", "courrier-soir.example"),
    Outlet("الأفق الاقتصادي", "alufuq.example"),
    Outlet("日刊マーケット", "nikkan-market.example"),
    Outlet("Börsenblick", "boersenblick.example"),
)

ISSUERS: tuple[Issuer, ...] = (
    Issuer("北方新能源股份有限公司", "600991"),
    Issuer("海蓝生物科技股份有限公司", "300877"),
    Issuer("晨星物流集团股份有限公司", "002998"),
    Issuer("Kestrel Airlines Ltd.", "KSTL"),
    Issuer("Aurora Semiconductor Inc.", "AURS"),
    Issuer("Tideway & Sons plc", "TDW.L"),
)

NOTICES: tuple[tuple[str, str], ...] = (
    ("关于召开年度股东大会的通知", "会议将以现场投票与网络投票相结合的方式召开。"),
    ("关于回购公司股份的进展公告", "截至本公告日，累计回购股份占总股本的0.83%。"),
    ("关于董事辞职的公告", "辞职报告自送达董事会之日起生效，不影响公司正常经营 ✅"),
    ("Notice of dividend", 'The board proposes a dividend of 0.42 per share; the "ex" date follows.'),
    ("Change of auditor", "Subject to approval by shareholders at the general meeting."),
)

TAGS: tuple[str, ...] = ("markets", "财报", "energy", "اقتصاد", "M&A", "新能源", "🚀", "dividend", "O'Reilly", "供应链")
