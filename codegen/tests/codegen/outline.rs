//! The public names and signatures that are generated from the document: a change of the document shows here as a
//! change of the API. `cargo xtask expand` prints the whole code.

use std::collections::BTreeSet;

use bunq_partner_codegen::Document;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Block, Item, ItemImpl, Visibility, parse_quote};

const DOCUMENT: &str = include_str!("../../../openapi/bunq-partner.yaml");

#[test]
fn outline() {
    test_timeout::start();
    let files = bunq_partner_codegen::generate(&Document::parse(DOCUMENT).unwrap()).unwrap();
    let outline = ["types.rs", "methods.rs", "operations.rs"].map(|name| {
        let code = &files.iter().find(|file| file.name == name).unwrap().code;
        let mut file = syn::parse_file(code).unwrap();
        let public: BTreeSet<_> = file.items.iter().filter(|item| is_public(item)).filter_map(name_of).collect();
        file.items.retain(|item| is_public(item) && implemented_for(item).is_none_or(|name| public.contains(&name)));
        Outline.visit_file_mut(&mut file);
        file.items.retain(is_public);
        prettyplease::unparse(&file)
    });
    insta::assert_snapshot!(outline.join("\n"));
}

fn name_of(item: &Item) -> Option<String> {
    match item {
        Item::Struct(item) => Some(item.ident.to_string()),
        Item::Enum(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

/// The type that an `impl` is for.
fn implemented_for(item: &Item) -> Option<String> {
    let Item::Impl(ItemImpl { self_ty, .. }) = item else { return None };
    let syn::Type::Path(path) = &**self_ty else { return None };
    let name = path.path.segments.last()?.ident.to_string();
    (!["Api", "Operation"].contains(&name.as_str())).then_some(name)
}

/// Removes what callers cannot see: bodies, values, private items, and all attributes except those that are promises.
struct Outline;

impl VisitMut for Outline {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| ["derive", "non_exhaustive"].iter().any(|kept| attribute.path().is_ident(kept)));
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        visit_mut::visit_item_mod_mut(self, module);
        if let Some((_, items)) = &mut module.content {
            items.retain(is_public);
        }
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        visit_mut::visit_item_impl_mut(self, item);
        if item.trait_.is_some() {
            item.items.clear();
        }
        item.items.retain(|item| match item {
            syn::ImplItem::Fn(method) => matches!(method.vis, Visibility::Public(_)),
            syn::ImplItem::Const(constant) => matches!(constant.vis, Visibility::Public(_)),
            _ => true,
        });
    }

    fn visit_impl_item_const_mut(&mut self, constant: &mut syn::ImplItemConst) {
        visit_mut::visit_impl_item_const_mut(self, constant);
        constant.expr = parse_quote!(_);
    }

    /// Shortens `::std::option::Option` to `Option`.
    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        visit_mut::visit_path_mut(self, path);
        if (path.leading_colon.is_some() || path.segments[0].ident == "crate")
            && let Some(last) = path.segments.pop()
        {
            *path = last.into();
        }
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.clear();
    }
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Struct(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Use(item) => &item.vis,
        Item::Impl(item) => return item.trait_.is_some() || !item.items.is_empty(),
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}
